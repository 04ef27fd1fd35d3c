"""Whatever happens to its connections, a client ends with what was written; what must not happen is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wegent.client.merge import TaskView
from wegent.client.problems import ProblemKind

TASK = 7
Frame = tuple[str, Any, Any]
"""("event", name, payload), ("join", ack, whole), ("resume", subtask_id, ack), ("send", payload, ack), ("cut", …)."""


class Server:
    """One task, by the rules of the protocol: rows, one running answer with its log, and one viewer's connection."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.rows: dict[int, dict[str, Any]] = {}
        self.revision = 0
        self.running: int | None = None
        self.text = self.thinking = ""
        self.blocks: dict[str, dict[str, Any]] = {}
        self.member = False

    def tell(self, name: str, payload: dict[str, Any]) -> None:
        if self.member:
            self.frames.append(("event", name, {"task_id": TASK, **payload}))

    def commit(self, key: int, **changes: Any) -> dict[str, Any]:
        self.revision += 1
        row = self.rows.setdefault(key, {"id": key, "message_id": key, "attempt": 1, "prompt": "", "result": None})
        row.update(changes, revision=self.revision)
        return row

    def send(self) -> None:
        if self.running is not None:
            return
        number = len(self.rows) + 1
        self.commit(number, role="USER", prompt=f"question {number}", status="COMPLETED")
        self.commit(number + 1, role="ASSISTANT", status="PENDING", error_message=None)
        row = self.rows[number]
        said = {"subtask_id": number, "message_id": number, "revision": row["revision"], "role": "USER"}
        self.tell("chat:message", {**said, "content": row["prompt"]})

    def waiting(self) -> int | None:
        return next((key for key, row in self.rows.items() if row["status"] == "PENDING"), None)

    def start(self) -> None:
        key = self.waiting()
        if key is None or self.running is not None:
            return
        row = self.commit(key, status="RUNNING")
        self.running, self.text, self.thinking, self.blocks = key, "", "", {}
        self.tell("chat:start", {**self.about(row), "bot_name": "B", "shell_type": "Chat"})

    def about(self, row: dict[str, Any]) -> dict[str, Any]:
        names = ("message_id", "attempt", "revision")
        return {"subtask_id": row["id"], **{name: row[name] for name in names}}

    def run(self) -> dict[str, Any]:
        assert self.running is not None
        return {"subtask_id": self.running, "attempt": self.rows[self.running]["attempt"]}

    def say(self, delta: str, thought: str = "", block: str = "") -> None:
        if self.running is None or not (delta or thought or block):
            return
        result: dict[str, Any] = {}
        if thought:
            result["thinking"] = {"content": thought, "offset": len(self.thinking)}
        if block:
            version = self.blocks.get(block, {"version": 0})["version"] + 1
            self.blocks[block] = {"id": block, "version": version, "at": len(self.text) + len(delta), "status": "done"}
            result["blocks"] = [self.blocks[block]]
        self.tell("chat:chunk", {**self.run(), "content": delta, "offset": len(self.text), "result": result})
        self.text, self.thinking = self.text + delta, self.thinking + thought

    def result(self, cut: int | None = None) -> dict[str, Any]:
        made = {"value": self.text[:cut], "thinking": self.thinking[:cut], "blocks": list(self.blocks.values())}
        return made if made["value"] == self.text and made["thinking"] == self.thinking else {**made, "truncated": True}

    def end(self, status: str) -> None:
        if self.running is None:
            return
        error = "broken" if status == "FAILED" else None
        row = self.commit(self.running, status=status, result=self.result(), error_message=error)
        self.running = None
        self.tell(*self.ending(row))
        self.tell("task:status", {"status": status, "revision": row["revision"], "progress": 100})

    def ending(self, row: dict[str, Any], cut: int | None = None) -> tuple[str, dict[str, Any]]:
        name = {"COMPLETED": "chat:done", "FAILED": "chat:error", "CANCELLED": "chat:cancelled"}[row["status"]]
        text = row["result"]["value"]
        result = row["result"] if cut is None else {**row["result"], "value": text[:cut]}
        if len(result["value"]) < len(text):
            result["truncated"] = True
        failed = {"error": "broken", "type": "model"} if row["status"] == "FAILED" else {}
        return name, {**self.about(row), "offset": len(text), "result": result, **failed}

    def end_again(self) -> None:
        ended = [row for row in self.rows.values() if row["role"] == "ASSISTANT" and row["result"] is not None]
        if self.running is None and ended and ended[-1]["status"] not in ("PENDING", "RUNNING"):
            self.tell(*self.ending(ended[-1]))

    def take_over(self) -> None:
        """The run is lost; another attempt waits."""
        if self.running is not None:
            row = self.rows[self.running]
            self.commit(self.running, status="PENDING", attempt=row["attempt"] + 1)
            self.running = None

    def retry(self) -> None:
        failed = [key for key, row in self.rows.items() if row["status"] in ("FAILED", "CANCELLED")]
        if failed and self.running is None and self.waiting() is None:
            row = self.rows[failed[-1]]
            self.commit(row["id"], status="PENDING", attempt=row["attempt"] + 1, result=None, error_message=None)

    def cut(self) -> None:
        self.member = False
        self.frames.append(("cut", None, None))

    def join(self, cursor: int | None, cut: int | None = None) -> None:
        """`cursor`: the revision that the client knows; `cut`: how much of a long text fits the ack."""
        rows = [dict(row) for row in self.rows.values() if cursor is None or row["revision"] > cursor]
        streaming = None
        if self.running is not None:
            result = self.result(cut)
            streaming = {**self.run(), "offset": len(self.text), "cached_content": result["value"]}
            streaming |= {"thinking": result["thinking"], "values": {"blocks": result["blocks"]}}
            streaming |= {"truncated": True} if result.get("truncated") else {}
        ack = {"streaming": streaming, "subtasks": rows, "revision": self.revision, "has_more": False}
        self.frames.append(("join", ack, cursor is None))
        self.member = True

    def resume(self, key: int, attempt: int, offset: int) -> None:
        row = self.rows[key]
        live = key == self.running
        text = self.text if live else (row["result"] or {}).get("value", "")
        thinking = self.thinking if live else (row["result"] or {}).get("thinking", "")
        blocks = list(self.blocks.values()) if live else (row["result"] or {}).get("blocks", [])
        start = offset if attempt == row["attempt"] and offset <= len(text) else 0
        ack = {"success": True, "attempt": row["attempt"], "offset": start, "status": row["status"]}
        self.frames.append(("resume", key, ack))
        self.member = True
        rest = {"thinking": {"content": thinking, "offset": 0}, "blocks": blocks}
        about = {"subtask_id": key, "attempt": row["attempt"], "content": text[start:], "offset": start}
        if row["status"] != "PENDING":
            self.tell("chat:chunk", {**about, "result": rest})
        if row["status"] in ("COMPLETED", "FAILED", "CANCELLED"):
            self.tell(*self.ending(row, cut=3))


def deliver(view: TaskView, frames: list[Frame]) -> None:
    for kind, first, second in frames:
        if kind == "event":
            view.event(first, second)
        elif kind == "join":
            view.joined(first, whole=second)
        elif kind == "resume":
            view.resumed(first, second)
        else:
            view.disconnected()


def whole_view(server: Server) -> TaskView:
    """What a client holds that joins now for the first time."""
    other = TaskView(TASK)
    server.frames.clear()
    server.join(None)
    deliver(other, server.frames)
    server.frames.clear()
    return other


TEXT = st.text(st.sampled_from("aé漢🙂\u0301\n"), max_size=4)
STEPS = st.one_of(
    st.tuples(st.just("say"), TEXT, st.just("") | TEXT, st.sampled_from(["", "", "b1", "b2"])),
    st.tuples(st.just("say"), TEXT, st.just(""), st.just("")),
    st.sampled_from([("send",), ("start",), ("end", "COMPLETED"), ("end", "FAILED"), ("end", "CANCELLED")]),
    st.sampled_from([("take_over",), ("retry",), ("end_again",), ("cut",)]),
    st.tuples(st.just("join"), st.booleans(), st.none() | st.integers(0, 4)),
    st.tuples(st.just("reconnect"), st.booleans(), st.none() | st.integers(0, 4)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_a_client_ends_with_what_was_written_whatever_its_connections_do(steps: list[tuple[Any, ...]]) -> None:
    server, view = Server(), TaskView(TASK)
    server.join(None)
    for name, *args in steps:
        if name in ("join", "reconnect"):
            if name == "reconnect":
                server.cut()
            deliver(view, server.frames)
            server.frames.clear()
            server.join(view.revision if args[0] else None, args[1])
        else:
            getattr(server, name)(*args)
        deliver(view, server.frames)
        server.frames.clear()
        while server.member and (wanted := view.requests()):
            for request in wanted:
                server.resume(request.subtask_id, request.attempt, request.offset)
            deliver(view, server.frames)
            server.frames.clear()
    server.cut()
    server.join(view.revision)
    deliver(view, server.frames)
    assert not view.problems
    assert view.requests() == []
    assert view.holds() == whole_view(server).holds()
    for message in view.messages.values():
        if message.id == server.running:
            assert message.content.value == server.text
            assert message.thinking.value == server.thinking


def script(server: Server, deltas: list[str]) -> None:
    """A run on one connection: start, deltas, ending."""
    server.join(None)
    server.send()
    server.start()
    for delta in deltas:
        server.say(delta, delta.upper())
    server.end("COMPLETED")


def lose(frames: list[Frame], at: int) -> None:
    del frames[at]


def repeat(frames: list[Frame], at: int) -> None:
    frames.insert(at, frames[at])


def swap(frames: list[Frame], at: int) -> None:
    frames[at], frames[at + 1] = frames[at + 1], frames[at]


def mix_attempts(frames: list[Frame], at: int) -> None:
    kind, name, payload = frames[at]
    frames[at] = (kind, name, {**payload, "attempt": payload["attempt"] + 1})


def alter(frames: list[Frame], at: int) -> None:
    kind, name, payload = frames[at]
    frames[at] = (kind, name, {**payload, "content": payload["content"][:-1] + "x"})


def shift(frames: list[Frame], at: int) -> None:
    kind, name, payload = frames[at]
    frames[at] = (kind, name, {**payload, "offset": payload["offset"] + 1})


FAULTS: list[Callable[[list[Frame], int], None]] = [lose, repeat, swap, mix_attempts, alter, shift]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=8), st.integers(0, 7))
def test_a_planted_fault_in_the_text_is_noticed(
    fault: Callable[[list[Frame], int], None], deltas: list[str], place: int
) -> None:
    server, view = Server(), TaskView(TASK)
    script(server, deltas)
    first = next(at for at, frame in enumerate(server.frames) if frame[1] == "chat:chunk")
    fault(server.frames, first + place % len(deltas))
    deliver(view, server.frames)
    assert view.problems
    if fault is not mix_attempts:
        assert view.messages[2].content.value == "".join(deltas), "the ending sets it right in any case"


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT.filter(bool), min_size=1, max_size=8))
def test_an_ending_before_its_last_text_and_a_start_after_the_first_are_noticed(deltas: list[str]) -> None:
    for swapped, kind in (("chat:done", ProblemKind.EARLY_ENDING), ("chat:start", ProblemKind.BEFORE_START)):
        server, view = Server(), TaskView(TASK)
        script(server, deltas)
        at = next(at for at, frame in enumerate(server.frames) if frame[1] == swapped)
        swap(server.frames, at - 1 if swapped == "chat:done" else at)
        deliver(view, server.frames)
        assert kind in view.problems.kinds()


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT.filter(bool), min_size=2, max_size=8), st.integers(1, 7))
def test_a_join_that_misses_what_came_between_its_reading_and_its_membership_is_noticed(
    deltas: list[str], place: int
) -> None:
    """The broken variant of law 2: rows and text are read, then a delta is told, then the connection is a member."""
    server, view = Server(), TaskView(TASK)
    server.send()
    server.start()
    missed = place % (len(deltas) - 1)
    for at, delta in enumerate(deltas):
        if at == missed:
            server.join(None)
        server.member = at > missed
        server.say(delta)
    server.end("COMPLETED")
    deliver(view, server.frames)
    assert ProblemKind.GAP in view.problems.kinds()


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_no_payload_makes_a_view_raise(payload: dict[str, Any]) -> None:
    view = TaskView(TASK)
    for name in ("chat:start", "chat:chunk", "chat:done", "chat:message", "task:status", "task:updated", "x"):
        view.event(name, {"task_id": TASK, **payload})
    view.joined({"revision": 1, "subtasks": [payload], "streaming": payload})
    view.sent(payload, payload)
    view.resumed(1, payload)


KEYS = ["subtask_id", "attempt", "offset", "content", "result", "revision", "message_id", "status", "id", "deleted"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["value", "thinking", "blocks", "id", "version", "content", "offset"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["chat:start", "chat:chunk", "chat:done", "chat:error", "chat:message", "task:status"]),
            st.dictionaries(st.sampled_from(KEYS), VALUES),
        ),
        max_size=8,
    )
)
def test_no_sequence_of_odd_payloads_makes_a_view_raise(events: list[tuple[str, dict[str, Any]]]) -> None:
    view = TaskView(TASK)
    for name, payload in events:
        view.event(name, {"task_id": TASK, **payload})
        view.joined({"revision": 1, "subtasks": [payload], "streaming": payload})
    view.holds()
    view.requests()
