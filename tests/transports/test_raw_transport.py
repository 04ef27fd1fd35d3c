"""The raw WebSocket transport behind a front door, on real sockets (protocol §2)."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.transports.peers import WebSocketPeer, eventually, peer, pending, websocket
from wegent.core.clock import SystemClock
from wegent.core.closing import FORBIDDEN, OVERLOAD, SHUTTING_DOWN, Close
from wegent.core.errors import AccessDenied, NotAuthenticated, Overloaded
from wegent.core.instruments import Registry
from wegent.core.model import Principal
from wegent.core.namespaces import Namespace
from wegent.core.outbox import OutboxLimits
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session, SessionLimits, Sessions
from wegent.core.timers import Timers
from wegent.transports.frontdoor import FrontDoor, FrontDoorLimits, listen
from wegent.transports.websocket import RawConfig, RawServices, RawTransport
from wegent.transports.ws.client import masked_frame, new_key, upgrade_request


class House:
    """A door with one namespace behind it; what its handlers do can be held up."""

    def __init__(self, config: RawConfig, limits: OutboxLimits) -> None:
        self.registry, self.timers = Registry(), Timers()
        self.rooms = Rooms(self.registry)
        session_limits = SessionLimits(patience=0.2)
        self.sessions = Sessions(self.rooms, self.timers, SystemClock(), self.registry, session_limits)
        self.door = FrontDoor(self.registry, FrontDoorLimits(head_timeout=2.0))
        self.chat = Namespace("/chat", authenticate=self.authenticate)
        self.transport = RawTransport(
            RawServices(self.sessions, self.timers, self.door.flusher, limits, config), {"/chat": self.chat}
        )
        self.door.claim("/ws/chat", self.transport.serve)
        self.port = 0
        self.gate = trio.Event()
        self.door_of_auth = trio.Event()
        self.door_of_auth.set()
        self.handled: list[Any] = []

        @self.chat.connected
        def connected(session: Session) -> None:
            self.rooms.enter(session, "all")

        @self.chat.on("echo")
        def echo(session: Session, payload: Any) -> Any:
            self.handled.append(payload)
            return payload

        @self.chat.on("wait", lane=lambda payload: payload)
        async def wait(session: Session, payload: Any) -> Any:
            await self.gate.wait()
            return payload

        @self.chat.on("stuck")
        async def stuck(session: Session, payload: Any) -> Any:
            with trio.CancelScope(shield=True):
                await self.gate.wait()

        @self.chat.on("ask", lane=lambda payload: "ask")
        async def ask(session: Session, payload: Any) -> Any:
            return await session.call("question", payload)

    async def authenticate(self, auth: Any) -> Principal:
        with trio.CancelScope(shield=True):  # as a thread that reads a database
            await self.door_of_auth.wait()
        match auth.get("token"):
            case "good":
                return Principal(user_id=1, user_name="ann", scope="user")
            case "forbidden":
                raise AccessDenied("User is not active")
            case "busy":
                raise Overloaded("the database is away")
        raise NotAuthenticated("Invalid or expired token")

    @property
    def session(self) -> Session:
        [session] = self.sessions.all()
        return session


@asynccontextmanager
async def house(*, limits: OutboxLimits | None = None, **config: Any) -> AsyncIterator[House]:
    made = House(RawConfig(**{"close_timeout": 1.0, **config}), limits or OutboxLimits())
    sockets = listen("127.0.0.1", 0)
    made.port = sockets[0].getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.timers.run)
        await nursery.start(made.door.run)
        nursery.start_soon(made.door.accept, sockets)
        yield made
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def friend(house: House) -> AsyncIterator[WebSocketPeer]:
    async with websocket(house.port, "/ws/chat", ("Authorization", "Bearer good")) as made:
        ready = (await made.message())["ready"]
        assert ready["sid"].startswith("w.")
        yield made


@pytest.mark.parametrize(("token", "code"), [("bad", 4401), ("forbidden", 4403), ("busy", 1013)])
@pytest.mark.parametrize("way", ["header", "message"])
async def test_refusals_say_why_and_close_with_their_code(token: str, code: int, way: str) -> None:
    headers = [("Authorization", f"Bearer {token}")] if way == "header" else []
    async with house() as there, websocket(there.port, "/ws/chat", *headers) as client:
        if way == "message":
            await client.tell({"auth": {"token": token}})
        [text] = await client.ends()
        assert set(json.loads(text)) == {"error", "code"}
        assert client.closed == (code, json.loads(text)["error"])
        await eventually(lambda: not pending(there.timers))


@pytest.mark.parametrize("why", [SHUTTING_DOWN, FORBIDDEN, OVERLOAD])
async def test_a_close_comes_behind_what_waits_with_its_code(why: Close) -> None:
    async with house() as there, friend(there) as client:
        for n in range(1_000):
            there.rooms.emit("/chat", "all", "n", n)
        there.transport.close_all(why)
        there.rooms.emit("/chat", "all", "late", None)
        texts = await client.ends()
        assert [json.loads(text)["data"] for text in texts] == list(range(1_000))
        assert client.closed == (why.code, why.reason)
        assert len(there.sessions) == 0
        with trio.fail_after(5):
            await there.transport.closed()


async def test_without_a_pong_the_client_is_told_and_dropped() -> None:
    async with house(ping_interval=0.05, ping_timeout=0.2) as there, friend(there) as client:
        client.answers_pings = False
        assert await client.ends() == []
        assert client.closed == (4012, "No pong")
        await eventually(lambda: not pending(there.timers))


async def test_with_pongs_it_lives() -> None:
    async with house(ping_interval=0.02, ping_timeout=0.2) as there, friend(there) as client:
        with trio.move_on_after(0.5):
            await client.frame()
        await client.tell({"event": "echo", "data": 1, "id": 1})
        assert await client.message() == {"ack": 1, "data": 1}


async def test_past_the_hard_limit_a_client_that_reads_again_hears_that_it_was_slow() -> None:
    limits = OutboxLimits(high=10_000, hard=200_000)
    async with house(limits=limits, close_timeout=5.0) as there, friend(there) as client, friend(there) as other:
        told = 0
        while len(there.sessions) == 2 and told < 100:
            told += 1
            there.rooms.emit("/chat", "all", "large", "x" * 100_000)
            with trio.fail_after(5):
                assert len(json.loads(await other.frame() or "")["data"]) == 100_000
        assert 2 < told < 100
        texts = await client.ends()
        assert len(texts) < told
        assert client.closed == (4008, "Slow consumer")


async def test_a_client_that_never_reads_again_is_cut() -> None:
    limits = OutboxLimits(high=10_000, hard=200_000)
    async with house(limits=limits, close_timeout=0.2) as there, friend(there):
        for _ in range(200):
            there.rooms.emit("/chat", "all", "large", "x" * 100_000)
        assert len(there.sessions) == 0
        with trio.fail_after(5):
            await there.transport.closed()
        await eventually(lambda: not pending(there.timers))


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("way", ["reset", "end", "close frame"])
async def test_a_client_that_leaves_in_any_state_leaves_nothing(opened: bool, way: str) -> None:
    async with house() as there:
        there.door_of_auth = trio.Event()
        if opened:
            there.door_of_auth.set()
        async with websocket(there.port, "/ws/chat") as client:
            await client.tell({"auth": {"token": "good"}})
            if opened:
                await client.message()
                for event in ("stuck", "wait", "ask"):
                    await client.tell({"event": event, "data": 1, "id": 1})
                await client.message()
            await trio.testing.wait_all_tasks_blocked(0.02)
            [connection] = map(weakref.ref, there.transport._connections)
            if way == "reset":
                await client.vanish()
            elif way == "end":
                await client.stream.send_eof()
            else:
                await client.say(b"\x03\xe8", 8)
            await eventually(lambda: not len(there.sessions))
            assert there.rooms.get("/chat", "all") is None, "also while one of its handlers is at work"
            there.gate.set()
            there.door_of_auth.set()
            await eventually(lambda: not there.transport._connections)
        assert len(there.sessions) == 0
        await eventually(lambda: not pending(there.timers))
        gc.collect()

        assert connection() is None


async def test_a_handler_may_await_an_ack_of_its_own_client() -> None:
    async with house() as there, friend(there) as client:
        await client.tell({"event": "ask", "data": "why?", "id": "a"})
        question = await client.message()
        assert question["data"] == "why?"
        await client.tell({"event": "echo", "data": 1, "id": "b"})
        assert await client.message() == {"ack": "b", "data": 1}
        await client.tell({"ack": question["id"], "data": "because"})
        assert await client.message() == {"ack": "a", "data": "because"}


async def test_patience_with_a_full_session_is_spent_once() -> None:
    async with house() as there, friend(there) as client:
        frames = [masked_frame(json.dumps({"event": "wait", "data": n, "id": n}).encode()) for n in range(100)]
        started = trio.current_time()
        await client.send(b"".join(frames) + masked_frame(b'{"event": "echo", "data": 1, "id": "e"}'))
        answers = [await client.message() for _ in range(100 - 16 + 1)]
        assert trio.current_time() - started < 5.0
        assert answers.pop() == {"ack": "e", "data": 1}
        assert {answer["data"]["code"] for answer in answers} == {"OVERLOADED"}
        there.gate.set()
        assert sorted([(await client.message())["ack"] for _ in range(16)]) == list(range(16))


async def test_what_comes_behind_a_refused_message_is_not_handled() -> None:
    async with house() as there, friend(there) as client:
        echo = masked_frame(b'{"event": "echo", "data": 1}')
        await client.send(echo + masked_frame(b"nonsense") + echo * 10)
        await client.ends()
        assert client.closed is not None
        assert client.closed[0] == 4400
        assert there.handled == [1]


async def test_unclaimed_paths_and_bad_upgrades_are_refused() -> None:
    good = upgrade_request("x", "/ws/chat", new_key())
    cases = {
        upgrade_request("x", "/ws/nobody", new_key()): 404,
        good.replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 12"): 426,
        good.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x"): 400,
        good.replace(b"GET", b"POST"): 405,
        good.replace(b"\r\n\r\n", b"\r\nOrigin: http://evil.example\r\n\r\n"): 403,
        good.replace(b"\r\n\r\n", b"\r\nOrigin: http://[\r\n\r\n"): 403,
        good.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"): 431,
        b"nonsense\r\n\r\n": 400,
        good[:-2]: 408,
    }
    async with house() as there:
        for request, status in cases.items():
            async with peer(there.port) as client:
                await client.send(request)
                assert (await client.response())[0] == status
        there.sessions.draining = True
        async with peer(there.port) as client:
            await client.send(good)
            got, headers, _ = await client.response()
            assert (got, headers["retry-after"]) == (503, "1")
        await eventually(lambda: not pending(there.timers))


async def test_clients_that_reset_while_they_are_refused_are_no_errors(caplog: pytest.LogCaptureFixture) -> None:
    async with house() as there:
        for data in (b"nonsense\r\n\r\n", upgrade_request("x", "/ws/nobody", new_key()), b"GET ", b""):
            for _ in range(20):
                async with peer(there.port) as client:
                    await client.send(data)
                    await client.vanish()
        async with friend(there):
            pass
    assert caplog.records == []
