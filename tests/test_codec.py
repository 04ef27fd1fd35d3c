"""What goes over the wire is read strictly, told plainly, and written without what is absent."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from wegent import codec, protocol
from wegent.protocol.events import EVENTS
from wegent.protocol.fields import Check
from wegent.protocol.limits import MAX_DEPTH, MAX_ID

ID = f"an integer from 1 to {MAX_ID}"
SEND = {"team_id": 1, "message": "hi"}
TIME = "2026-02-01T12:00:00Z"

BAD = [
    (protocol.ChatSend, [], "expected an object, got an array"),
    (protocol.ChatSend, None, "expected an object, got null"),
    (protocol.ChatSend, {"message": ""}, f"`team_id`: expected {ID}, got nothing"),
    (protocol.ChatSend, SEND | {"team_id": None}, f"`team_id`: expected {ID}, got null"),
    (protocol.ChatSend, SEND | {"team_id": True}, f"`team_id`: expected {ID}, got true or false"),
    (protocol.ChatSend, SEND | {"team_id": "1"}, f"`team_id`: expected {ID}, got a string"),
    (protocol.ChatSend, SEND | {"team_id": 1.5}, f"`team_id`: expected {ID}, got a number"),
    (protocol.ChatSend, SEND | {"team_id": 0}, f"`team_id`: expected {ID}, got 0"),
    (protocol.ChatSend, SEND | {"task_id": -1}, f"`task_id`: expected {ID}, got -1"),
    (protocol.ChatSend, SEND | {"task_id": MAX_ID + 1}, f"`task_id`: expected {ID}, got {MAX_ID + 1}"),
    (protocol.ChatSend, SEND | {"task_id": 10**300}, f"`task_id`: expected {ID}, got a number with too many digits"),
    (protocol.ChatSend, SEND | {"task_id": float("nan")}, f"`task_id`: expected {ID}, got a number"),
    (
        protocol.ChatSend,
        SEND | {"message": "a\x00b"},
        "`message`: expected text, valid Unicode without U+0000, got text with U+0000 in it",
    ),
    (
        protocol.ChatSend,
        SEND | {"message": "a\ud83d"},
        "`message`: expected text, valid Unicode without U+0000, got text with half of a surrogate pair in it",
    ),
    (
        protocol.ChatSend,
        SEND | {"client_message_id": "x" * 65},
        "`client_message_id`: expected text of 1 to 64 characters, valid Unicode without U+0000, got 65 characters",
    ),
    (
        protocol.ChatSend,
        SEND | {"if_running": "perhaps"},
        "`if_running`: expected one of reject, queue, interrupt, got another value",
    ),
    (protocol.ChatSend, SEND | {"is_group_chat": 1}, "`is_group_chat`: expected true or false, got an integer"),
    (
        protocol.ChatSend,
        SEND | {"attachment_ids": [1, "2"]},
        "`attachment_ids[1]`: expected an integer, got a string",
    ),
    (
        protocol.ChatSend,
        SEND | {"attachment_ids": [0]},
        f"`attachment_ids`: expected at most 1000 items, each {ID}, got 0",
    ),
    (
        protocol.ChatSend,
        SEND | {"attachment_ids": [1] * 1001},
        f"`attachment_ids`: expected at most 1000 items, each {ID}, got 1001 items",
    ),
    (protocol.ChatSend, SEND | {"contexts": [7]}, "`contexts[0]`: expected an object, got a number"),
    (
        protocol.ChatSend,
        SEND | {"contexts": [{"type": "knowledge_base", "id": 1}, {"type": "attachment", "id": 0}]},
        f"`contexts[1].id`: expected {ID}, got 0",
    ),
    (
        protocol.ChatSend,
        SEND | {"contexts": [{}]},
        "`contexts[0].type`: expected the kind of context, a string, got nothing",
    ),
    (protocol.TaskJoin, {"task_id": 1, "limit": 501}, "`limit`: expected an integer from 1 to 500, got 501"),
    (
        protocol.TaskComplete,
        {"subtask_id": 1, "status": "RUNNING"},
        "`status`: expected one of COMPLETED, FAILED, CANCELLED, got another value",
    ),
    (
        protocol.TaskProgress,
        {"subtask_id": 1, "events": [{"type": "heartbeat"}, {"type": "progress", "progress": 101}]},
        "`events[1].progress`: expected an integer from 0 to 100, got 101",
    ),
    (
        protocol.RunnerMessage,
        {"type": "shout"},
        (
            "`type`: expected one of chunk, thinking, block, progress, app, skill, heartbeat, done, error,"
            " got another word"
        ),
    ),
    (protocol.RunnerMessage, "chunk", "expected an object, got a string"),
    (
        protocol.Frame,
        {"x": 1},
        "`event`: expected a frame with one of event, ack, auth, ready, error, got none of them",
    ),
    (
        protocol.ExecutionRequest,
        {"team_id": 1, "prompt": "x", "run_at": "2026-02-01T12:00:00"},
        "`run_at`: expected an ISO 8601 time with its zone, such as 2026-02-01T12:00:00Z, got a time without a zone",
    ),
]


@pytest.mark.parametrize(("kind", "value", "sentence"), BAD)
def test_a_bad_payload_is_refused_in_plain_words(kind, value, sentence):
    with pytest.raises(codec.CodecError) as caught:
        codec.convert(value, kind)
    assert caught.value.sentence == sentence
    assert caught.value.path == (sentence.split("`")[1] if sentence.startswith("`") else "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1,]",
        b"NaN",
        b"1e400",
        b"1" * 6000,
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"a\x00b"',
        b'"\\ud83d"',
        b'"\\ude00\\ud83d x"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xef\xbb\xbf{}",
        "\ud800",
    ],
    ids=range(15),
)
def test_bytes_that_are_no_json_are_one_error(data):
    with pytest.raises(codec.CodecError):
        codec.decode(data)


def test_loose_decoding_lets_halves_of_surrogate_pairs_pass_and_nothing_else():
    assert codec.decode_loose(b'{"a":["x\\ud83d","\\uDE00"]}') == {"a": ["x\ud83d", "\ude00"]}
    assert codec.decode_loose('"\\ud83d\\ude00"') == "😀"
    for data in [
        b'["\\ud83d",NaN]',
        b'["\\ud83d",1e999]',
        b'["\\ud83d",' + b"[" * 100_000,
        b'["\\ud83d",' + b"1" * 6000 + b"]",
        b'["\\ud83d"',
        b'["\\ud83d\xff"]',
        b"{",
    ]:
        with pytest.raises(codec.CodecError):
            codec.decode_loose(data)


def test_decoding_takes_text_and_any_buffer():
    for data in ('{"a":1}', b'{"a":1}', bytearray(b'{"a":1}'), memoryview(b'{"a":1}')):
        assert codec.decode(data) == codec.decode_loose(data) == {"a": 1}


def test_null_counts_as_absent_where_there_is_a_default():
    nulls = {field.name: None for field in attrs.fields(protocol.ChatSend)} | SEND
    assert codec.convert(nulls, protocol.ChatSend) == codec.convert(SEND, protocol.ChatSend)
    frame = {"subtask_id": 1, "events": [{"type": "chunk", "content": "a", "offset": None}], "attempt": None}
    assert codec.convert(frame, protocol.TaskProgress).events == (protocol.RunnerChunk(content="a"),)
    shell = {"model_config": {"model_id": "m", "api_format": None}, "messages": [], "metadata": {"request_id": "r"}}
    assert codec.convert(shell | {"stream": None, "features": None}, protocol.ResponseRequest).stream


def test_null_inside_any_json_is_kept():
    answer = {"request_id": "r", "success": True, "result": {"a": None, "b": [None]}}
    assert codec.convert(answer | {"error": None}, protocol.SkillResponse).result == {"a": None, "b": [None]}
    sent = codec.convert(SEND | {"is_group_chat": None, "contexts": [{"type": "x", "a": None}]}, protocol.ChatSend)
    assert sent.contexts == (protocol.OtherContext(type="x", data={"a": None}),)


def test_unknown_fields_are_ignored():
    assert codec.convert(SEND | {"new": {"a": [1]}}, protocol.ChatSend) == codec.convert(SEND, protocol.ChatSend)


@pytest.mark.parametrize("word", ["COMPLETED", "completed", "Completed"])
def test_a_status_is_matched_without_regard_to_case(word):
    done = codec.convert({"subtask_id": 1, "status": word}, protocol.TaskComplete)
    assert done.status is protocol.Ending.COMPLETED


def nested(levels):
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (nested(MAX_DEPTH + 1), "deeper nesting"),
        (nested(100_000), "deeper nesting"),
        ({"a": [{"b\x00": 1}]}, "text with U+0000 in it"),
        (["\udc00"], "text with half of a surrogate pair in it"),
        ([float("inf")], "a number that is not finite"),
        ([2**63], "a number with too many digits"),
    ],
    ids=["deep", "abyss", "nul", "surrogate", "inf", "huge"],
)
def test_any_json_is_bounded(result, got):
    with pytest.raises(codec.CodecError) as caught:
        codec.convert({"request_id": "r", "success": True, "result": result}, protocol.SkillResponse)
    assert caught.value.path == "result"
    assert caught.value.sentence.endswith("got " + got)


def test_any_json_within_bounds_passes():
    for result in (nested(MAX_DEPTH), [2**63 - 1, -(2**63), 0.5, None, True, "ö"], {"a": {"b": []}}):
        answer = codec.convert({"request_id": "r", "success": True, "result": result}, protocol.SkillResponse)
        assert answer.result == result


def test_text_of_runners_is_let_through_for_cleaning():
    said = codec.convert({"type": "chunk", "content": "a\x00\ud83d"}, protocol.RunnerMessage)
    assert said == protocol.RunnerChunk(content="a\x00\ud83d")


def test_absent_fields_are_left_out_and_nullable_ones_are_written():
    chunk = protocol.ChatChunk(task_id=1, subtask_id=2, attempt=1, content="ö", offset=0)
    assert codec.encode(chunk) == '{"task_id":1,"subtask_id":2,"attempt":1,"content":"ö","offset":0}'.encode()
    more = attrs.evolve(chunk, result=protocol.ChunkResult(thinking=protocol.Delta(content="t", offset=3)))
    assert json.loads(codec.encode(more))["result"] == {"thinking": {"content": "t", "offset": 3}}
    ack = protocol.TaskJoinAck(
        streaming=None, subtasks=(protocol.RemovedSubtask(id=1, revision=2),), revision=2, has_more=False
    )
    assert json.loads(codec.encode(ack)) == {
        "streaming": None,
        "subtasks": [{"id": 1, "revision": 2, "deleted": True}],
        "revision": 2,
        "has_more": False,
    }
    sent = protocol.ChatSendAck(task_id=1, subtask_id=2, message_id=1, assistant_subtask_id=None)
    assert json.loads(codec.encode(["x", {"a": (sent,)}]))[1]["a"][0]["assistant_subtask_id"] is None


def test_the_chunk_written_by_hand_has_every_field_of_its_class():
    chunk = protocol.ChatChunk(
        task_id=1, subtask_id=2, attempt=1, content="", offset=0, result=protocol.ChunkResult(progress=1)
    )
    assert chunk.to_wire().keys() == {field.name for field in attrs.fields(protocol.ChatChunk)}


def test_a_context_of_a_plugin_is_written_as_it_came():
    raw = {"type": "ticket", "number": 7, "tags": ["a"]}
    sent = codec.convert(SEND | {"contexts": [raw]}, protocol.ChatSend)
    assert json.loads(codec.encode(sent))["contexts"] == [raw]


@pytest.mark.parametrize("value", ["\ud800", ["a\udfff"], {"a": object()}, nested(100_000)], ids=range(4))
def test_what_json_cannot_hold_is_one_error(value):
    with pytest.raises(codec.CodecError):
        codec.encode(value)


def test_every_check_lets_absence_pass():
    for each in EVENTS:
        for field in attrs.fields(each.payload):
            if isinstance(field.validator, Check):
                field.validator(None, field, None)


def test_a_time_of_another_zone_is_the_same_moment():
    asked = codec.convert(
        {"team_id": 1, "prompt": "x", "run_at": "2026-02-01T13:00:00+01:00"}, protocol.ExecutionRequest
    )
    assert asked.run_at == datetime(2026, 2, 1, 12, tzinfo=UTC)
    assert asked.run_at.utcoffset() == timedelta(hours=1)
