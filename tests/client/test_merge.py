"""The merge rules of a client, and what the referee in them notices."""

from __future__ import annotations

from typing import Any

import pytest

from wegent.client.merge import Resume, TaskView
from wegent.client.message import ChangeKind
from wegent.client.problems import ProblemKind

TASK = 7


def row(key: int, revision: int, **fields: Any) -> dict[str, Any]:
    made = {"id": key, "message_id": key, "revision": revision, "attempt": 1, "role": "ASSISTANT", "prompt": ""}
    return {**made, "status": "PENDING", "result": {}, "created_at": "2025-01-01T00:00:00Z", **fields}


def ack(revision: int, *rows: dict[str, Any], streaming: Any = None, has_more: bool = False) -> dict[str, Any]:
    return {"streaming": streaming, "subtasks": list(rows), "revision": revision, "has_more": has_more}


def run(key: int = 2, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"task_id": TASK, "subtask_id": key, "attempt": attempt, **fields}


def start(revision: int = 2, **fields: Any) -> dict[str, Any]:
    return run(message_id=2, revision=revision, bot_name="B", shell_type="Chat", **fields)


def chunk(offset: int, content: str, **fields: Any) -> dict[str, Any]:
    return run(offset=offset, content=content, **fields)


def done(value: str, revision: int = 3, **fields: Any) -> dict[str, Any]:
    ended = {"message_id": 2, "revision": revision, "offset": len(value), "result": {"value": value}}
    return run(**ended) | fields


@pytest.fixture
def view() -> TaskView:
    made = TaskView(TASK)
    made.joined(ack(1, row(1, 1, role="USER", prompt="hi", status="COMPLETED"), row(2, 1)))
    return made


def kinds(view: TaskView) -> set[ProblemKind]:
    return view.problems.kinds()


def test_a_stream_is_appended_and_ended(view: TaskView) -> None:
    view.event("chat:start", start())
    assert view.active is view.messages[2]
    changes = view.event("chat:chunk", chunk(0, "Hé"))
    assert [(c.kind, c.offset, c.delta) for c in changes] == [(ChangeKind.TEXT, 0, "Hé")]
    view.event("chat:chunk", chunk(2, "🙂!"))
    assert view.messages[2].phase == "streaming"
    view.event("chat:done", done("Hé🙂!"))
    assert (view.messages[2].text, view.messages[2].phase) == ("Hé🙂!", "completed")
    assert view.active is None
    assert not view.problems


def test_events_of_another_task_change_nothing(view: TaskView) -> None:
    assert view.event("chat:chunk", {**chunk(0, "x"), "task_id": 8}) == ()


def test_the_overlap_of_a_repeated_delta_is_dropped(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "abcd"))
    changes = view.event("chat:chunk", chunk(2, "cdef"))
    assert [c.delta for c in changes] == ["ef"]
    assert view.messages[2].text == "abcdef"
    assert kinds(view) == {ProblemKind.MISORDER}


def test_a_delta_that_disagrees_is_noticed(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "abcd"))
    view.event("chat:chunk", chunk(2, "xd"))
    assert view.messages[2].text == "abcd"
    assert ProblemKind.DISAGREE in kinds(view)


def test_a_gap_asks_for_a_resume_once_and_the_resume_fills_it(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "abc"))
    view.event("chat:chunk", chunk(5, "f"))
    assert view.requests() == [Resume(2, 1, 3)]
    view.event("chat:chunk", chunk(6, "g"))
    assert view.requests() == []
    assert [p.kind for p in view.problems] == [ProblemKind.GAP]
    view.resumed(2, {"success": True, "attempt": 1, "offset": 3, "status": "RUNNING"})
    view.event("chat:chunk", chunk(3, "defgh"))
    view.event("chat:chunk", chunk(8, "i"))
    view.event("chat:done", done("abcdefghi"))
    assert view.messages[2].text == "abcdefghi"
    assert len(view.problems) == 1


def test_a_lost_delta_is_noticed_at_the_ending(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "abc"))
    view.event("chat:done", done("abcdef"))
    assert view.messages[2].text == "abcdef"
    assert kinds(view) == {ProblemKind.EARLY_ENDING}


def test_text_after_the_ending_is_ignored_and_noticed(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:done", done(""))
    assert view.event("chat:chunk", chunk(0, "late")) == ()
    assert view.messages[2].text == ""
    assert kinds(view) == {ProblemKind.AFTER_ENDING}


def test_text_before_the_start_is_noticed(view: TaskView) -> None:
    view.event("chat:chunk", chunk(0, "early"))
    assert view.messages[2].text == "early"
    assert kinds(view) == {ProblemKind.BEFORE_START}


def test_a_failure_to_start_needs_no_start(view: TaskView) -> None:
    view.event("chat:error", {**done(""), "error": "No device", "type": "device_lost"})
    assert (view.messages[2].status, view.messages[2].error) == ("FAILED", "No device")
    assert not view.problems


def test_a_repeated_ending_is_ignored_and_another_one_noticed(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "a"))
    view.event("chat:done", done("a"))
    assert view.event("chat:done", done("a")) == ()
    assert not view.problems
    view.event("chat:cancelled", done("a"))
    assert kinds(view) == {ProblemKind.SECOND_ENDING}
    view.event("chat:done", done("b"))
    assert view.messages[2].status == "COMPLETED"
    assert ProblemKind.DISAGREE in kinds(view)


def test_a_greater_attempt_empties_text_and_values_and_an_older_one_is_ignored(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "old", result={"blocks": [{"id": "b", "version": 1, "at": 3}]}))
    changes = view.event("chat:start", {**start(4), "attempt": 2, "reason": "worker_lost"})
    assert changes[0].kind is ChangeKind.BEGIN
    assert view.messages[2].text == ""
    assert view.messages[2].blocks == []
    assert not view.problems
    assert view.event("chat:chunk", chunk(3, "er")) == ()
    assert kinds(view) == {ProblemKind.OLD_ATTEMPT}


def test_the_ack_of_a_join_is_what_the_stream_goes_on_from() -> None:
    view = TaskView(TASK)
    streaming = {"subtask_id": 2, "attempt": 1, "offset": 3, "cached_content": "abc", "values": None, "thinking": "hm"}
    view.joined(ack(5, row(2, 2, status="RUNNING", result={"value": "a"}), streaming=streaming))
    view.event("chat:chunk", chunk(3, "d", result={"thinking": {"content": "m", "offset": 2}}))
    assert (view.messages[2].text, view.messages[2].thinking.value) == ("abcd", "hmm")
    assert not view.problems


@pytest.mark.parametrize(("offset", "kind"), [(2, ProblemKind.REPEAT), (4, ProblemKind.GAP)])
def test_a_first_delta_that_is_not_at_the_acks_offset_is_noticed(offset: int, kind: ProblemKind) -> None:
    view = TaskView(TASK)
    streaming = {"subtask_id": 2, "attempt": 1, "offset": 3, "cached_content": "abc", "values": []}
    view.joined(ack(5, row(2, 2, status="RUNNING"), streaming=streaming))
    view.event("chat:chunk", chunk(offset, "c"))
    assert kinds(view) == {kind}


def test_a_cut_snapshot_asks_for_the_rest_and_is_no_breach() -> None:
    view = TaskView(TASK)
    streaming = {"subtask_id": 2, "attempt": 1, "offset": 6, "cached_content": "abc", "truncated": True, "values": []}
    view.joined(ack(5, row(2, 2, status="RUNNING"), streaming=streaming))
    assert view.requests() == [Resume(2, 1, 3)]
    view.event("chat:chunk", chunk(6, "g"))
    view.resumed(2, {"attempt": 1, "offset": 3, "status": "RUNNING"})
    view.event("chat:chunk", chunk(3, "defg"))
    assert view.messages[2].text == "abcdefg"
    assert not view.problems


def test_a_cut_ending_is_completed_by_a_resume(view: TaskView) -> None:
    ending = run(message_id=2, revision=3, offset=6, result={"value": "abc", "truncated": True})
    view.event("chat:start", start())
    view.disconnected()
    view.joined(ack(3, row(2, 3, status="COMPLETED", result={"value": "abc", "truncated": True})), whole=False)
    assert view.messages[2].truncated
    assert view.requests() == []
    view.fetch(2)
    assert view.requests() == [Resume(2, 1, 3)]
    view.resumed(2, {"attempt": 1, "offset": 3, "status": "COMPLETED"})
    view.event("chat:chunk", chunk(3, "def"))
    view.event("chat:done", ending)
    assert (view.messages[2].text, view.messages[2].truncated) == ("abcdef", False)
    assert not view.problems
    view.event("chat:chunk", chunk(6, "x"))
    assert kinds(view) == {ProblemKind.AFTER_ENDING}


def test_an_ending_that_was_cut_keeps_the_text_that_streamed(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "abcdef"))
    view.event("chat:done", run(message_id=2, revision=3, offset=6, result={"value": "abc", "truncated": True}))
    assert (view.messages[2].text, view.requests()) == ("abcdef", [])
    assert not view.problems


def test_a_rejoin_with_a_cursor_gives_what_was_missed(view: TaskView) -> None:
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "ab"))
    view.disconnected()
    view.joined(ack(9, row(2, 8, status="COMPLETED", result={"value": "abcd"}), row(3, 9, role="USER")), whole=False)
    assert [message.id for message in view.ordered()] == [1, 2, 3]
    assert view.messages[2].text == "abcd"
    assert view.revision == 9
    assert not view.problems


def test_the_cursor_moves_by_acks_only(view: TaskView) -> None:
    view.event("chat:start", start(revision=5))
    assert view.revision == 1
    view.joined(ack(0))
    assert kinds(view) == {ProblemKind.REVISION_BACK}


def test_a_removed_row_goes_and_stays_away(view: TaskView) -> None:
    view.joined(ack(4, {"id": 2, "deleted": True, "revision": 4}), whole=False)
    assert view.event("chat:chunk", chunk(0, "x")) == ()
    assert list(view.messages) == [1]
    view.joined(ack(5))
    assert view.messages == {}


def test_a_late_event_of_a_row_that_the_ack_lacks_does_not_make_it(view: TaskView) -> None:
    view.joined(ack(9, row(5, 9)))
    late = {"task_id": TASK, "subtask_id": 3, "message_id": 3, "revision": 8, "role": "USER", "content": "gone"}
    view.event("chat:message", late)
    view.event("chat:done", done("gone", revision=9, subtask_id=4))
    assert [each["id"] for each in view.holds()] == [5]
    assert not kinds(view)
    view.event("chat:message", {**late, "revision": 10})
    assert [each["id"] for each in view.holds()] == [3, 5]


def test_a_whole_ack_takes_away_what_was_only_known_by_the_ack_of_its_send(view: TaskView) -> None:
    view.sent({"message": "x", "task_id": TASK}, {"subtask_id": 3, "message_id": 3, "assistant_subtask_id": 4})
    view.joined(ack(9, row(5, 9)))
    assert [each["id"] for each in view.holds()] == [5]


def test_a_whole_ack_with_more_before_it_keeps_the_older_rows(view: TaskView) -> None:
    view.joined(ack(5, row(2, 2, status="RUNNING"), has_more=True))
    assert list(view.messages) == [1, 2]


def test_an_event_without_a_membership_is_noticed() -> None:
    view = TaskView(TASK)
    view.event("chat:start", start())
    assert kinds(view) == {ProblemKind.NOT_JOINED}


def test_a_sender_has_its_rows_by_the_ack() -> None:
    view = TaskView(TASK)
    sent = {"task_id": TASK, "subtask_id": 1, "message_id": 1, "assistant_subtask_id": 2}
    view.sent({"message": "hi", "team_id": 1}, sent)
    view.event("chat:start", start())
    view.event("chat:chunk", chunk(0, "yo"))
    assert [message.text for message in view.ordered()] == ["hi", "yo"]
    assert not view.problems


def test_somebody_elses_message_is_a_row(view: TaskView) -> None:
    said = {"task_id": TASK, "subtask_id": 9, "message_id": 3, "revision": 4, "role": "USER", "content": "me too"}
    view.event("chat:message", {**said, "sender": {"user_id": 4, "user_name": "bo"}})
    assert view.ordered()[-1].text == "me too"
    view.event("chat:message", {**said, "revision": 2, "content": "stale"})
    assert view.ordered()[-1].text == "me too"


def test_the_task_is_not_over_before_its_run(view: TaskView) -> None:
    over = {"task_id": TASK, "status": "COMPLETED", "progress": 100, "revision": 4, "updated_at": "x"}
    view.event("chat:start", start())
    view.event("task:status", {**over, "revision": 1})
    assert not view.problems
    view.event("task:status", over)
    assert kinds(view) == {ProblemKind.EARLY_STATUS}
    assert view.status == "COMPLETED"


def test_of_a_block_the_greatest_version_counts(view: TaskView) -> None:
    view.event("chat:start", start())

    def block(version: int, status: str) -> dict[str, Any]:
        return chunk(0, "", result={"blocks": [{"id": "b", "version": version, "at": 0, "status": status}]})

    view.event("chat:chunk", block(1, "pending"))
    view.event("chat:chunk", block(2, "done"))
    assert not view.problems
    view.event("chat:chunk", block(1, "pending"))
    assert [b["status"] for b in view.messages[2].blocks] == ["done"]
    assert kinds(view) == {ProblemKind.STALE_VALUE}
    view.event("chat:chunk", block(2, "error"))
    assert ProblemKind.DISAGREE in kinds(view)


@pytest.mark.parametrize("form", ["object", "list"])
def test_values_of_a_snapshot_are_taken_in_either_form(form: str) -> None:
    block = {"id": "b", "version": 2, "at": 1, "status": "done"}
    as_list = [{"kind": "block", "key": "b", "version": 2, "data": {"id": "b", "at": 1, "status": "done"}}]
    values = {"blocks": [block], "progress": 40} if form == "object" else as_list
    view = TaskView(TASK)
    streaming = {"subtask_id": 2, "attempt": 1, "offset": 1, "cached_content": "a", "values": values}
    view.joined(ack(5, row(2, 2, status="RUNNING"), streaming=streaming))
    assert view.messages[2].blocks == [block]


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("chat:chunk", {"subtask_id": 2, "content": "x", "offset": 0}),
        ("chat:chunk", {"subtask_id": 2, "attempt": 1, "offset": 0}),
        ("chat:chunk", {"subtask_id": 2, "attempt": 1, "content": "x", "offset": -1}),
        ("chat:done", {"attempt": 1}),
        ("chat:message", {"subtask_id": 3}),
        ("chat:start", {"subtask_id": True, "attempt": 1}),
        ("task:status", {"status": "RUNNING"}),
    ],
)
def test_a_payload_without_its_fields_is_noticed(view: TaskView, name: str, payload: dict[str, Any]) -> None:
    view.event(name, {"task_id": TASK, **payload})
    assert ProblemKind.MALFORMED in kinds(view)


def test_a_member_by_a_send_alone_is_not_owed_what_it_was_never_told(view: TaskView) -> None:
    view.event("chat:start", start())
    view.disconnected()
    sent = {"task_id": TASK, "subtask_id": 5, "message_id": 5, "assistant_subtask_id": None}
    view.sent({"message": "hi", "team_id": 1, "task_id": TASK}, sent)
    view.event("task:status", {"task_id": TASK, "status": "COMPLETED", "progress": 100, "revision": 9})
    view.event("chat:chunk", {**run(key=6), "offset": 4, "content": "x"})
    assert view.requests() == [Resume(6, 1, 0)]
    assert not view.problems
