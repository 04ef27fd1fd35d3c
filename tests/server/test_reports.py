"""Reports of hosts and devices become what the kernel takes, whatever they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.codec import CodecError, convert
from wegent.core.model import CONTENT, THINKING, Ending, EndingStatus
from wegent.core.said import SaidApp, SaidBlock, SaidProgress, SaidSkill, SaidText, SaidWhole
from wegent.protocol.devices import TaskComplete, TaskProgress
from wegent.protocol.hosts import ReportStatus
from wegent.server.reports import UNSAID, device_ending, device_report, host_report

HELD = {"subtask_id": 2, "attempt": 1, "lease": "x"}
APP = {"name": "a", "address": "b", "previewUrl": "c"}


def host(**fields):
    return host_report(convert({**HELD, **fields}, ReportStatus))


def test_events_are_said_in_their_order():
    report = host(
        events=[
            {"type": "chunk", "content": "a", "offset": 0},
            {"type": "thinking", "content": "b", "offset": 3},
            {"type": "thinking", "content": "c"},
            {"type": "block", "id": "x", "tool_name": "t", "status": "DONE"},
            {"type": "progress", "progress": 7, "message": "m"},
            {"type": "app", **APP},
            {"type": "skill", "id": "q", "skill_name": "s", "action": "go", "data": {"n": 1}},
            {"type": "heartbeat"},
        ]
    )
    assert report.ending is None
    assert report.said == (
        SaidText(CONTENT, "a", 0),
        SaidText(THINKING, "b", 3),
        SaidText(THINKING, "c"),
        SaidBlock({"id": "x", "tool_name": "t", "status": "done"}),
        SaidProgress(7, "m"),
        SaidApp(APP),
        SaidSkill("q", "s", "go", {"n": 1}),
    )


def test_nothing_is_said_after_the_ending():
    events = [{"type": "done", "result": {"value": "ab", "workbench": {"w": 1}}}, {"type": "chunk", "content": "late"}]
    report = host(events=events)
    assert report.said == (SaidWhole(CONTENT, "ab"),)
    assert report.ending == Ending(EndingStatus.COMPLETED, result={"workbench": {"w": 1}})
    events = [{"type": "error", "message": "broke\0", "error_type": "RUNNER_EXIT"}, {"type": "done"}]
    assert host(events=events).ending == Ending(EndingStatus.FAILED, "broke\ufffd", "runner_exit")


def test_the_status_says_how_it_ended():
    assert host(status="running").ending is None
    assert host(status="cancelled", events=[{"type": "done"}]).ending == Ending(EndingStatus.CANCELLED)
    assert host(status="FAILED").ending == Ending(EndingStatus.FAILED, UNSAID, "internal")
    failed = host(status="FAILED", error_message="x" * 9_000, error_type="no such type").ending
    assert (len(failed.error), failed.error_type) == (2_000, "internal")
    with pytest.raises(CodecError):
        host(status="gone")


def test_a_device_says_it_by_delta_by_messages_or_whole():
    report = device_report(
        convert(
            {"subtask_id": 2, "delta": "b", "offset": 1, "progress": 9, "result": {"value": "ab", "app": APP}},
            TaskProgress,
        )
    )
    assert report.said == (SaidText(CONTENT, "b", 1), SaidProgress(9), SaidWhole(CONTENT, "ab"), SaidApp(APP))
    ending = device_ending(convert({"subtask_id": 2, "status": "completed", "result": {"value": "ab"}}, TaskComplete))
    assert (ending.said, ending.ending) == ((SaidWhole(CONTENT, "ab"),), Ending(EndingStatus.COMPLETED))


@given(st.lists(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text())), max_size=4))
def test_malformed_events_are_refused_with_a_sentence(events):
    try:
        host(events=events)
    except CodecError as error:
        sentence = error.sentence
    else:
        sentence = "taken"
    assert sentence
