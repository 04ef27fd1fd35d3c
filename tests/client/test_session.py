"""Sessions and task streams, against a server that is scripted frame by frame."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from wegent.client.errors import ConnectionLost, Timeout, Unreachable, from_payload
from wegent.client.link import socket_url
from wegent.client.rest import rest_url
from wegent.client.session import Backoff, Listener, Session, open_session
from wegent.client.streams import open_task
from wegent.core.errors import (
    AccessDenied,
    InvalidPayload,
    NotAuthenticated,
    NotFound,
    OffsetMismatch,
    Overloaded,
    TaskRunning,
    TokenExpired,
)

QUICK = Backoff(first=0.01, most=0.02)
READY = {"ready": {"sid": "w.1", "ping_interval": 25}}
Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: WebSocketConnection, token: str) -> None:
        self.socket = socket
        self.token = token

    async def send(self, message: object) -> None:
        await self.socket.send_message(message if isinstance(message, str) else json.dumps(message))

    async def tell(self, event: str, **data: Any) -> None:
        await self.send({"event": event, "data": {"task_id": 7, **data}})

    async def take(self) -> dict[str, Any]:
        found = json.loads(await self.socket.get_message())
        assert isinstance(found, dict)
        return found

    async def asked(self, event: str) -> dict[str, Any]:
        message = await self.take()
        assert message["event"] == event
        return message

    async def answer(self, message: dict[str, Any], **data: Any) -> None:
        await self.send({"ack": message["id"], "data": data})

    async def stay(self) -> None:
        """Until the client goes."""
        while True:
            await self.take()


@asynccontextmanager
async def serve(*scripts: Script) -> AsyncIterator[str]:
    """A server whose nth connection runs the nth script; the last one goes on for all later ones."""
    count = 0

    async def handle(request: WebSocketRequest) -> None:
        nonlocal count
        script = scripts[min(count, len(scripts) - 1)]
        count += 1
        token = dict(request.headers).get(b"authorization", b"").decode().removeprefix("Bearer ")
        socket = await request.accept()
        try:
            await script(Peer(socket, token))
        except ConnectionClosed:
            return

    async with trio.open_nursery() as nursery:
        start: Any = serve_websocket
        server = await nursery.start(lambda task_status: start(handle, "127.0.0.1", 0, None, task_status=task_status))
        yield f"http://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.001)


async def be_ready(peer: Peer) -> None:
    await peer.send(READY)
    await peer.stay()


async def echo(peer: Peer) -> None:
    await peer.send(READY)
    while True:
        message = await peer.take()
        await peer.answer(message, **message["data"])


def closing(code: int, reason: str = "") -> Script:
    async def script(peer: Peer) -> None:
        await peer.socket.aclose(code, reason)

    return script


def closing_when_ready(code: int) -> Script:
    async def script(peer: Peer) -> None:
        await peer.send(READY)
        await peer.socket.aclose(code, "because")

    return script


def refusing(code: str, close: int) -> Script:
    async def script(peer: Peer) -> None:
        await peer.send({"error": "no", "code": code})
        await peer.socket.aclose(close)

    return script


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://localhost:8000", "ws://localhost:8000/ws/chat"),
        ("https://example.org/base/", "wss://example.org/base/ws/chat"),
        ("example.org:80", "ws://example.org:80/ws/chat"),
        ("http://[::1]:5", "ws://[::1]:5/ws/chat"),
    ],
)
def test_an_address_of_a_server_gives_the_socket_and_the_calls(server: str, url: str) -> None:
    assert socket_url(server, "/chat") == url
    assert rest_url(server) == url.replace("ws", "http", 1).replace("ws/chat", "api/v1/")


@pytest.mark.parametrize("server", ["", "ftp://x", "http://", "http://x:port", "http://x:99999", "::"])
def test_what_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(InvalidPayload, match="is no address"):
        socket_url(server, "/chat")


async def test_an_event_gets_its_ack() -> None:
    async with serve(echo) as server, open_session(server, "t") as session:
        assert session.sid == "w.1"
        assert await session.emit("x", {"a": "é🙂"}) == {"a": "é🙂"}


async def test_acks_find_their_events_in_any_order() -> None:
    async def backwards(peer: Peer) -> None:
        await peer.send(READY)
        asked = [await peer.take() for _ in range(3)]
        for message in reversed(asked):
            await peer.answer(message, **message["data"])
        await peer.stay()

    found: dict[int, Any] = {}

    async def ask(session: Session, number: int) -> None:
        found[number] = await session.emit("x", {"n": number})

    async with serve(backwards) as server, open_session(server, "t") as session, trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(ask, session, number)
    assert found == {number: {"n": number} for number in range(3)}


@pytest.mark.parametrize(
    ("code", "kind"),
    [("TASK_RUNNING", TaskRunning), ("ACCESS_DENIED", AccessDenied), ("OFFSET_MISMATCH", OffsetMismatch)],
)
async def test_a_refusal_is_raised_as_what_it_is(code: str, kind: type[Exception]) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.send(READY)
        await peer.answer(await peer.take(), error="no", code=code, offset=4)
        await peer.stay()

    async with serve(refuse) as server, open_session(server, "t") as session:
        with pytest.raises(kind, match="no") as caught:
            await session.emit("x", {})
    assert caught.value.details == {"offset": 4}  # type: ignore[attr-defined]


def test_an_unknown_code_is_still_an_error() -> None:
    assert from_payload({"error": "hm", "code": "NEW"}).sentence == "hm"


async def test_an_event_without_an_answer_times_out() -> None:
    async with serve(be_ready) as server, open_session(server, "t") as session:
        with pytest.raises(Timeout, match="no answer to x"):
            await session.emit("x", {}, timeout=0.05)


async def test_an_event_that_is_too_large_is_refused_here() -> None:
    async with serve(be_ready) as server, open_session(server, "t") as session:
        with pytest.raises(InvalidPayload, match="at most"):
            await session.emit("x", {"a": "x" * 1_000_000})


async def test_an_ack_that_never_comes_is_a_lost_connection() -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.send(READY)
        await peer.take()

    async with serve(hang_up, echo) as server, open_session(server, "t", backoff=QUICK) as session:
        with pytest.raises(ConnectionLost):
            await session.emit("x", {"a": 1})
        assert await session.emit("x", {"a": 2}) == {"a": 2}


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1013, 4001, 4008, 4012])
async def test_a_close_that_says_come_back_is_come_back_from(code: int) -> None:
    script = closing_when_ready(code) if code != 1006 else _drop
    async with serve(script, echo) as server, open_session(server, "t", backoff=QUICK) as session:
        with trio.fail_after(5):
            while True:
                try:
                    assert await session.emit("x", {}) == {}
                    break
                except ConnectionLost:
                    continue


async def _drop(peer: Peer) -> None:
    await peer.send(READY)
    await peer.socket._stream.aclose()


@pytest.mark.parametrize(
    ("code", "kind"), [(4400, InvalidPayload), (4401, NotAuthenticated), (4403, AccessDenied), (4429, Exception)]
)
async def test_a_close_that_says_stay_away_ends_the_session(code: int, kind: type[Exception]) -> None:
    async with serve(closing_when_ready(code)) as server:
        with pytest.raises(kind, match="because"):
            async with open_session(server, "t", backoff=QUICK):
                await trio.sleep_forever()


async def test_a_refused_token_is_told_by_the_servers_own_words() -> None:
    async with serve(refusing("TOKEN_EXPIRED", 4401)) as server:
        with pytest.raises(TokenExpired, match="no"):
            async with open_session(server, "t"):
                pass


async def test_a_refused_token_is_renewed_once() -> None:
    tokens: list[str] = []

    async def check(peer: Peer) -> None:
        tokens.append(peer.token)
        await (echo if peer.token == "new" else refusing("TOKEN_EXPIRED", 4401))(peer)

    async def renew(error: Exception) -> str:
        return "new"

    async def renew_badly(error: Exception) -> str:
        return "old"

    async with serve(check) as server:
        async with open_session(server, "old", renew=renew) as session:
            await session.emit("x", {})
        assert tokens == ["old", "new"]
        with pytest.raises(TokenExpired):
            async with open_session(server, "old", renew=renew_badly):
                pass


async def test_a_refreshed_token_is_used_on_the_next_connection() -> None:
    tokens: list[str] = []

    async def refresh(peer: Peer) -> None:
        tokens.append(peer.token)
        await peer.send(READY)
        await peer.answer(await peer.asked("auth:refresh"), success=True, expires_at="x")

    async def note(peer: Peer) -> None:
        tokens.append(peer.token)
        await echo(peer)

    async with serve(refresh, note) as server, open_session(server, "a", backoff=QUICK) as session:
        assert (await session.refresh("b"))["success"]
        await until(lambda: len(tokens) == 2)
    assert tokens == ["a", "b"]


async def test_nobody_at_the_address_is_unreachable_at_once() -> None:
    with trio.fail_after(5), pytest.raises(Unreachable, match="can't be reached"):
        async with open_session("http://127.0.0.1:9", "t"):
            pass


async def test_what_is_no_wegent_server_is_unreachable() -> None:
    async def hello(peer: Peer) -> None:
        await peer.send("hello")
        await peer.stay()

    async with serve(hello) as server:
        with pytest.raises(Unreachable, match="no Wegent server"):
            async with open_session(server, "t"):
                pass


async def test_patience_ends() -> None:
    async with serve(closing_when_ready(4001), closing(1013)) as server:
        with pytest.raises(Unreachable):
            async with open_session(server, "t", backoff=Backoff(first=0.001, most=0.002, patience=3)):
                await trio.sleep_forever()


async def test_the_bodys_own_error_comes_out_as_it_is() -> None:
    async with serve(be_ready) as server:
        with pytest.raises(KeyError):
            async with open_session(server, "t"):
                raise KeyError


async def test_waiting_grows_to_its_limit_and_is_spread() -> None:
    backoff = Backoff(first=1, most=8)
    for failures, longest in ((0, 1), (1, 2), (2, 4), (3, 8), (50, 8)):
        waits = [backoff.wait(failures) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest


async def test_subscribed_events_come_typed_and_in_order() -> None:
    async def tell(peer: Peer) -> None:
        await peer.send(READY)
        await peer.asked("go")
        for offset in range(3):
            await peer.tell("chat:chunk", subtask_id=2, attempt=1, content="x", offset=offset)
            await peer.tell("other")
        await peer.stay()

    async with serve(tell) as server, open_session(server, "t") as session:
        with session.subscribe("chat:chunk") as events:
            assert session.link is not None
            await session.link.send("go", {})
            offsets = [(await anext(events)).payload.offset for _ in range(3)]
    assert offsets == [0, 1, 2]


async def test_a_subscriber_that_lags_is_told_so_and_delays_nobody() -> None:
    async def tell(peer: Peer) -> None:
        await peer.send(READY)
        message = await peer.asked("go")
        for number in range(5):
            await peer.tell("x", n=number)
        await peer.answer(message)
        await peer.stay()

    async with serve(tell) as server, open_session(server, "t") as session:
        with session.subscribe("x", limit=2) as events:
            await session.emit("go", {})
            assert [(await anext(events)).data["n"] for _ in range(2)] == [0, 1]
            with pytest.raises(Overloaded):
                await anext(events)


async def test_a_subscription_ends_with_the_session() -> None:
    async with serve(closing_when_ready(4403)) as server:
        session = Session(server, "t")
        with session.subscribe() as events, pytest.raises(AccessDenied):
            await session.run(None, 0)
        session.close(AccessDenied("no"))
        with session.subscribe() as events:
            session.close(AccessDenied("no"))
            assert [event async for event in events] == []


async def test_a_question_that_nobody_answers_is_answered_as_such() -> None:
    answers: list[Any] = []

    async def ask(peer: Peer) -> None:
        await peer.send(READY)
        await peer.send({"event": "task:execute", "data": {}, "id": 9})
        answers.append(await peer.take())
        await peer.send({"event": "end"})
        await peer.stay()

    async with serve(ask) as server, open_session(server, "t") as session:
        with session.subscribe("end") as events:
            await anext(events)
    assert (answers[0]["ack"], answers[0]["data"]["code"]) == (9, "NOT_FOUND")


async def test_an_ack_is_applied_before_what_follows_it() -> None:
    heard: list[str] = []

    class Ear(Listener):
        def event(self, name: str, data: Any) -> None:
            heard.append(name)

    async def script(peer: Peer) -> None:
        await peer.send(READY)
        message = await peer.take()
        await peer.tell("before")
        await peer.answer(message)
        await peer.tell("after")
        await peer.stay()

    async with serve(script) as server, open_session(server, "t") as session:
        with session.listening(Ear()):
            await session.emit("x", {}, applied=lambda _: heard.append("ack"))
            await until(lambda: len(heard) == 3)
    assert heard == ["before", "ack", "after"]


# task streams

ROW = {"id": 2, "message_id": 2, "attempt": 1, "role": "ASSISTANT", "prompt": "", "created_at": "x"}


def run(**fields: Any) -> dict[str, Any]:
    return {"subtask_id": 2, "attempt": 1, **fields}


async def test_a_task_is_joined_followed_and_recovered_with_its_cursor() -> None:
    joins: list[dict[str, Any]] = []

    async def first(peer: Peer) -> None:
        await peer.send(READY)
        message = await peer.asked("task:join")
        joins.append(message["data"])
        rows = [{**ROW, "revision": 2, "status": "RUNNING", "result": None}]
        streaming = run(offset=2, cached_content="ab", values={})
        await peer.answer(message, streaming=streaming, subtasks=rows, revision=5, has_more=False)
        await peer.tell("chat:chunk", **run(content="cd", offset=2))

    async def second(peer: Peer) -> None:
        await peer.send(READY)
        message = await peer.asked("task:join")
        joins.append(message["data"])
        rows = [{**ROW, "revision": 6, "status": "COMPLETED", "result": {"value": "abcdef"}}]
        await peer.answer(message, streaming=None, subtasks=rows, revision=6, has_more=False)
        await peer.stay()

    async with (
        serve(first, second) as server,
        open_session(server, "t", backoff=QUICK) as session,
        open_task(session, 7) as stream,
    ):
        with trio.fail_after(5):
            async for _ in stream:
                if 2 in stream.task.messages and stream.task.messages[2].phase == "completed":
                    break
        assert stream.task.messages[2].text == "abcdef"
        await until(lambda: stream.state == "ready")
        assert not stream.task.problems
    assert joins == [{"task_id": 7}, {"task_id": 7, "after_revision": 5}]


async def test_a_gap_is_closed_by_a_resume() -> None:
    resumes: list[dict[str, Any]] = []

    async def script(peer: Peer) -> None:
        await peer.send(READY)
        message = await peer.asked("task:join")
        streaming = run(offset=1, cached_content="a", values={})
        await peer.answer(message, streaming=streaming, subtasks=[], revision=5, has_more=False)
        await peer.tell("chat:chunk", **run(content="d", offset=3))
        message = await peer.asked("chat:resume")
        resumes.append(message["data"])
        await peer.answer(message, success=True, attempt=1, offset=1, status="RUNNING")
        await peer.tell("chat:chunk", **run(content="bcd", offset=1))
        await peer.stay()

    async with serve(script) as server, open_session(server, "t") as session, open_task(session, 7) as stream:
        with trio.fail_after(5):
            async for _ in stream:
                if stream.task.messages[2].text == "abcd":
                    break
    assert resumes == [{"task_id": 7, "subtask_id": 2, "attempt": 1, "offset": 1}]


async def test_recoveries_that_are_asked_for_meanwhile_become_one() -> None:
    joins = 0
    go = trio.Event()

    async def script(peer: Peer) -> None:
        nonlocal joins
        await peer.send(READY)
        while True:
            message = await peer.asked("task:join")
            joins += 1
            await go.wait()
            await peer.answer(message, streaming=None, subtasks=[], revision=joins, has_more=False)

    async with serve(script) as server, open_session(server, "t") as session, open_task(session, 7) as stream:
        await until(lambda: joins > 0)
        for _ in range(5):
            stream.recover()
        assert stream.state == "joining"
        go.set()
        await until(lambda: stream.task.revision == 2)
        await trio.sleep(0.02)
        assert (joins, stream.state) == (2, "ready")


async def test_a_message_whose_ack_was_lost_is_sent_again_under_its_id() -> None:
    sent: list[dict[str, Any]] = []

    async def lose(peer: Peer) -> None:
        await peer.send(READY)
        sent.append((await peer.asked("chat:send"))["data"])

    async def take(peer: Peer) -> None:
        await peer.send(READY)
        message = await peer.asked("chat:send")
        sent.append(message["data"])
        await peer.answer(message, task_id=7, subtask_id=1, message_id=1, assistant_subtask_id=2)
        await peer.tell("chat:start", **run(message_id=2, revision=2, bot_name="B", shell_type="Chat"))
        await peer.tell("chat:chunk", **run(content="hi", offset=0))
        await peer.stay()

    async with (
        serve(lose, take) as server,
        open_session(server, "t", backoff=QUICK) as session,
        open_task(session) as stream,
    ):
        assert stream.state == "idle"
        ack = await stream.send(3, "hello")
        assert ack["assistant_subtask_id"] == 2
        async for _ in stream:
            if stream.task.messages[2].text:
                break
        assert [message.text for message in stream.task.ordered()] == ["hello", "hi"]
        assert not stream.task.problems
    assert sent[0] == sent[1]
    assert "task_id" not in sent[0]


async def test_a_task_that_may_not_be_joined_is_an_error_of_its_stream() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(READY)
        await peer.answer(await peer.take(), error="no such task", code="NOT_FOUND")
        await peer.stay()

    async with serve(script) as server, open_session(server, "t") as session, open_task(session, 7) as stream:
        with pytest.raises(NotFound):
            async for _ in stream:
                pass
        assert stream.state == "error"


async def test_a_join_that_fails_for_now_is_tried_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(READY)
        await peer.answer(await peer.take(), error="busy", code="OVERLOADED")
        await peer.answer(await peer.take(), streaming=None, subtasks=[], revision=1, has_more=False)
        await peer.stay()

    async with serve(script) as server, open_session(server, "t") as session, open_task(session, 7) as stream:
        await until(lambda: stream.state == "ready")


async def test_a_server_that_closes_in_the_handshake_is_left_at_once() -> None:
    """What stands before a server that is away may take connections and close them."""

    async def close(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, close, 0, host="127.0.0.1"))
        with trio.fail_after(5), pytest.raises(Unreachable, match="closed the connection"):
            async with open_session(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", "t"):
                pass
        nursery.cancel_scope.cancel()
