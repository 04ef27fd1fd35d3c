"""Socket.IO connections on real sockets: polling, WebSocket, the way from one to the other, and every kind of end."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.transports.peers import Peer, WebSocketPeer, eventually, peer, pending, websocket
from wegent.core.closing import FORBIDDEN, SHUTTING_DOWN
from wegent.core.errors import AccessDenied, NotAuthenticated
from wegent.core.model import Principal
from wegent.core.namespaces import Namespace
from wegent.core.outbox import OutboxLimits
from wegent.core.sessions import Session
from wegent.transports.socketio import SocketIOConfig, SocketIOServer

POLL = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


class House:
    """A Socket.IO server with two namespaces; what its handlers do can be held up."""

    def __init__(self, config: SocketIOConfig, limits: OutboxLimits | None) -> None:
        self.gate, self.door_of_auth = trio.Event(), trio.Event()
        self.door_of_auth.set()
        chat = Namespace("/chat", authenticate=self.authenticate)
        other = Namespace("/other")
        self.server = SocketIOServer([chat, other], config, limits=limits)
        self.transport = self.server._transport
        self.sessions = self.server._sessions
        self.timers = self.server._timers
        self.port = 0

        @chat.connected
        def connected(session: Session) -> None:
            self.server.enter(session, "all")

        @chat.on("echo")
        def echo(session: Session, payload: Any) -> Any:
            return payload

        @chat.on("stuck")
        async def stuck(session: Session, payload: Any) -> Any:
            with trio.CancelScope(shield=True):
                await self.gate.wait()

        @chat.on("ask", lane=lambda payload: "ask")
        async def ask(session: Session, payload: Any) -> Any:
            return await session.call("question", payload)

        @other.on("echo")
        def other_echo(session: Session, payload: Any) -> Any:
            return payload

    async def authenticate(self, auth: Any) -> Principal:
        with trio.CancelScope(shield=True):  # as a thread that reads a database
            await self.door_of_auth.wait()
        if auth == {"token": "good"}:
            return Principal(user_id=1, user_name="ann", scope="user")
        if auth == {"token": "forbidden"}:
            raise AccessDenied("User is not active")
        raise NotAuthenticated("Missing authentication token")

    def tell(self, payload: Any) -> None:
        self.server.emit("told", payload, room="all", namespace="/chat")


@asynccontextmanager
async def house(*, limits: OutboxLimits | None = None, **config: Any) -> AsyncIterator[House]:
    made = House(SocketIOConfig(**{"close_timeout": 0.5, **config}), limits)
    async with trio.open_nursery() as nursery:
        _, made.port = await nursery.start(made.server.serve, "127.0.0.1", 0)
        yield made
        nursery.cancel_scope.cancel()


CONNECT = '40/chat,{"token":"good"}'


@asynccontextmanager
async def engine(there: House, *, connected: bool = True) -> AsyncIterator[WebSocketPeer]:
    async with websocket(there.port, WEBSOCKET) as client:
        handshake = json.loads((await client.frame() or "")[1:])
        assert handshake["upgrades"] == []
        if connected:
            await client.say(CONNECT)
            assert (await client.frame() or "").startswith('40/chat,{"sid":"')
        yield client


class Poller:
    """A session that polls; each request on a connection of its own, so that any may be given up."""

    def __init__(self, there: House, sid: str) -> None:
        self.there = there
        self.sid = sid
        self.target = f"{POLL}&sid={sid}"

    async def request(self, head: str, body: bytes = b"") -> tuple[int, bytes]:
        async with peer(self.there.port) as client:
            status, _, answer = await client.request(head, body)
            return status, answer

    async def poll(self) -> bytes:
        status, body = await self.request(f"GET {self.target}")
        assert status == 200, body
        return body

    async def post(self, body: str) -> tuple[int, bytes]:
        return await self.request(f"POST {self.target}", body.encode())

    @property
    def client(self) -> Any:
        return self.there.transport.get(self.sid)


@asynccontextmanager
async def poller(there: House, *, connected: bool = True) -> AsyncIterator[Poller]:
    async with peer(there.port) as client:
        status, _, body = await client.request(f"GET {POLL}")
    assert status == 200
    handshake = json.loads(body[1:])
    assert handshake["upgrades"] == ["websocket"]
    made = Poller(there, handshake["sid"])
    if connected:
        assert await made.post(CONNECT) == (200, b"ok")
        assert (await made.poll()).startswith(b"40/chat,")
    yield made


async def nothing_is_left(there: House) -> None:
    await eventually(lambda: not there.transport._clients)
    assert len(there.sessions) == 0
    await eventually(lambda: not pending(there.timers))


# ends


async def test_come_back_closes_without_a_disconnect_packet_behind_what_waits() -> None:
    async with house() as there, engine(there) as client, poller(there) as polling:
        for n in range(1_000):
            there.tell(n)
        there.transport.close_all(SHUTTING_DOWN)
        there.tell("late")
        assert await client.ends() == [f'42/chat,["told",{n}]' for n in range(1_000)]
        assert client.closed == (4001, "Server is shutting down")
        packets = (await polling.poll()).split(b"\x1e")
        assert packets == [b'42/chat,["told",%d]' % n for n in range(1_000)] + [b"1"]
        with trio.fail_after(5):
            await there.transport.closed()
        await nothing_is_left(there)


async def test_do_not_come_back_says_disconnect_first() -> None:
    async with house() as there, engine(there) as client, poller(there) as polling:
        for session in there.sessions.all():
            session.disconnect(FORBIDDEN)
        assert await client.ends() == ["41/chat,"]
        assert client.closed == (4403, "Forbidden")
        assert await polling.poll() == b"41/chat,\x1e1"
        await nothing_is_left(there)


async def test_one_namespace_of_two_ends_alone() -> None:
    async with house() as there, engine(there) as client:
        await client.say("40/other,")
        assert (await client.frame() or "").startswith("40/other,")
        [session] = [each for each in there.sessions.all() if each.namespace == "/chat"]
        session.disconnect(FORBIDDEN)
        assert await client.frame() == "41/chat,"
        await client.say('42/other,1["echo",7]')
        assert await client.frame() == "43/other,1[7]"
        await client.say("41/other,")
        await eventually(lambda: len(there.sessions) == 0)
        await client.say('42/other,2["echo",7]')
        assert "NOT_AUTHENTICATED" in (await client.frame() or "")


async def test_refusals_leave_the_connection_for_another_try() -> None:
    async with house() as there, engine(there, connected=False) as client:
        for auth, code in (
            ('{"token":"bad"}', "NOT_AUTHENTICATED"),
            ("", "NOT_AUTHENTICATED"),
            (
                '{"token":"forbidden"}',
                "ACCESS_DENIED",
            ),
        ):
            await client.say(f"40/chat,{auth}")
            refusal = await client.frame() or ""
            assert refusal.startswith("44/chat,")
            assert json.loads(refusal.removeprefix("44/chat,"))["code"] == code
        await client.say(CONNECT)
        assert (await client.frame() or "").startswith("40/chat,")


async def test_more_namespaces_than_a_connection_may_have_are_refused() -> None:
    async with house() as there:
        there.transport._namespaces = {f"/{n}": Namespace(f"/{n}") for n in range(20)}
        async with engine(there, connected=False) as client:
            for n in range(20):
                await client.say(f"40/{n},")
            packets = [await client.frame() or "" for _ in range(20)]
            assert sum(packet.startswith("40/") for packet in packets) == 16
            assert sum(packet.startswith("44/") for packet in packets) == 4


async def test_without_a_pong_every_transport_says_so_and_ends() -> None:
    async with house(ping_interval=0.05, ping_timeout=0.2) as there, engine(there) as client, poller(there) as polling:
        assert await client.ends() == ["2"]
        assert client.closed == (4012, "No pong")
        while (body := await polling.poll()) == b"2":
            pass
        assert body in (b"1", b"2\x1e1")
        await nothing_is_left(there)


async def test_past_the_hard_limit_who_reads_again_hears_that_it_was_slow() -> None:
    limits = OutboxLimits(high=10_000, hard=200_000)
    async with house(limits=limits, close_timeout=1.0) as there, engine(there) as client, poller(there) as polling:
        for _ in range(100):
            there.tell("x" * 100_000)
            await trio.lowlevel.checkpoint()
        assert len(there.sessions) == 0
        assert await polling.poll() == b"1"
        packets = await client.ends()
        assert all(packet.startswith('42/chat,["told","xxx') for packet in packets)
        assert client.closed == (4008, "Slow consumer")
        await nothing_is_left(there)


STATES = ["opened", "connecting", "connected", "at work", "left"]


async def bring(client: WebSocketPeer, there: House, state: str) -> None:
    if state != "opened":
        await client.say(CONNECT)
    if state in ("connected", "at work"):
        await client.frame()
    if state == "at work":
        await client.say('42/chat,1["stuck",1]')
        await client.say('42/chat,2["ask",1]')
        await client.frame()
    if state == "left":
        await client.say("41/chat,")
        await client.say(CONNECT)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("way", ["reset", "end", "goodbye"])
async def test_a_client_that_leaves_in_any_state_leaves_nothing(state: str, way: str) -> None:
    async with house() as there:
        if state in ("connecting", "left"):
            there.door_of_auth = trio.Event()
        async with engine(there, connected=False) as client:
            await bring(client, there, state)
            await wait_all_tasks_blocked(0.02)
            [known] = map(weakref.ref, there.transport._clients.values())
            if way == "reset":
                await client.vanish()
            elif way == "end":
                await client.stream.send_eof()
            else:
                await client.say("1")
            await eventually(lambda: not len(there.sessions))
            there.gate.set()
            there.door_of_auth.set()
            await nothing_is_left(there)
        async with engine(there):
            pass
        await nothing_is_left(there)
        await eventually(lambda: gc.collect() is None or known() is None)


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("way", ["goodbye", "silence", "broken packet", "two polls", "two posts"])
async def test_a_client_that_polls_and_leaves_leaves_nothing(connected: bool, way: str) -> None:
    config = {"ping_interval": 0.05, "ping_timeout": 0.1} if way == "silence" else {}
    async with house(**config) as there, poller(there) as client:
        if way == "goodbye":
            assert await client.post("1") == (200, b"ok")
        elif way == "broken packet":
            assert (await client.post("9"))[0] == 400
        elif way == "two polls":
            async with peer(there.port) as first:
                await first.send(f"GET {client.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await eventually(lambda: client.client.polling)
                assert (await client.request(f"GET {client.target}"))[0] == 400
                assert (await first.response())[0] == 200
        elif way == "two posts":
            async with peer(there.port) as first:
                await first.send(f"POST {client.target} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4".encode())
                await eventually(lambda: client.client.posting)
                assert (await client.post("3"))[0] == 400
        await nothing_is_left(there)


async def test_leaving_while_connecting_and_connecting_again_makes_one_session() -> None:
    async with house() as there, engine(there, connected=False) as client:
        there.door_of_auth = trio.Event()
        for _ in range(5):
            await client.say(CONNECT)
            await client.say("41/chat,")
        await client.say(CONNECT)
        await client.say(CONNECT)
        await wait_all_tasks_blocked(0.02)
        there.door_of_auth.set()
        assert (await client.frame() or "").startswith("40/chat,")
        await wait_all_tasks_blocked(0.02)
        assert len(there.sessions) == 1
        await client.say('42/chat,1["echo",1]')
        assert await client.frame() == "43/chat,1[1]"


async def test_whoever_connects_to_nothing_is_sent_away() -> None:
    async with house(connect_timeout=0.1) as there, engine(there, connected=False) as client:
        assert await client.ends() == []
        assert client.closed is not None
        async with poller(there, connected=False) as polling:
            assert await polling.poll() == b"1"
        async with engine(there) as client:
            await client.say("41/chat,")
            assert await client.ends() == []
        await nothing_is_left(there)


# polling and the way to a WebSocket


async def test_a_poll_that_is_given_up_loses_nothing() -> None:
    async with house() as there, poller(there) as client:
        for n in range(10):
            for _ in range(3):
                async with peer(there.port) as leaving:
                    await waiting_poll(there, client, leaving)
                await eventually(lambda: not client.client.polling)
            there.tell(n)
            there.tell("more")
            assert await client.poll() == b'42/chat,["told",%d]\x1e42/chat,["told","more"]' % n


async def test_a_payload_is_no_longer_than_it_should_be_and_what_is_left_comes_next() -> None:
    async with house() as there, poller(there) as client:
        for n in range(30):
            there.tell(str(n) * 20_000)
        told = b""
        payloads = 0
        while told.count(b"told") < 30:
            body = await client.poll()
            assert len(body) < 300_000
            told += body + b"\x1e"
            payloads += 1
        assert payloads > 2
        texts = [json.loads(packet.removeprefix(b"42/chat,"))[1] for packet in told.split(b"\x1e")[:-1]]
        assert texts == [str(n) * 20_000 for n in range(30)]


@asynccontextmanager
async def probing(there: House, sid: str) -> AsyncIterator[WebSocketPeer]:
    async with websocket(there.port, f"{WEBSOCKET}&sid={sid}") as client:
        await client.say("2probe")
        assert await client.frame() == "3probe"
        yield client


async def waiting_poll(there: House, client: Poller, first: Peer) -> None:
    await first.send(f"GET {client.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await eventually(lambda: client.client.polling)


async def test_what_is_told_while_a_client_moves_over_comes_once_and_in_order() -> None:
    async with house() as there, poller(there) as client, peer(there.port) as first:
        await waiting_poll(there, client, first)
        async with probing(there, client.sid) as moving:
            assert (await first.response())[2] == b"6"
            there.tell(0)
            there.tell(1)
            assert await client.poll() == b'42/chat,["told",0]\x1e42/chat,["told",1]'
            assert await client.poll() == b"6", "until it has moved, polls return"
            there.tell(2)
            await moving.say("5")
            await moving.say('42/chat,1["echo","here"]')
            there.tell(3)
            texts = [await moving.frame() for _ in range(3)]
            assert texts.count('43/chat,1["here"]') == 1
            assert [text for text in texts if text and "told" in text] == ['42/chat,["told",2]', '42/chat,["told",3]']
            there.tell(4)
            assert await moving.frame() == '42/chat,["told",4]'
            assert (await client.request(f"GET {client.target}"))[0] == 400
    await nothing_is_left(there)


async def test_a_poll_that_waits_while_the_client_moves_over_is_answered() -> None:
    async with (
        house() as there,
        poller(there) as client,
        websocket(there.port, f"{WEBSOCKET}&sid={client.sid}") as moving,
    ):
        async with peer(there.port) as first:
            await waiting_poll(there, client, first)
            await moving.say("2probe")
            await moving.say("5")
            assert (await first.response())[2] == b"6"
        there.tell(0)
        assert [await moving.frame() for _ in range(2)] == ["3probe", '42/chat,["told",0]']


@pytest.mark.parametrize("said", [[], ["2probe"], ["5x"], ["hello"], ["2probe", "2probe"]])
async def test_an_upgrade_that_fails_leaves_the_session_polling(said: list[str]) -> None:
    async with house(upgrade_timeout=0.2) as there, poller(there) as client:
        async with websocket(there.port, f"{WEBSOCKET}&sid={client.sid}") as moving:
            for packet in said:
                await moving.say(packet)
            await moving.ends()
        await eventually(lambda: not client.client.upgrading)
        there.tell("still here")
        assert await client.poll() == b'42/chat,["told","still here"]'
        with trio.move_on_after(0.1) as scope:
            await client.poll()
        assert scope.cancelled_caught, "a poll waits again"
        async with probing(there, client.sid) as moving:
            await moving.say("5")
            there.tell(1)
            assert await moving.frame() == '42/chat,["told",1]'


async def test_websocket_pings_and_pongs_are_taken_while_a_client_moves_over() -> None:
    async with house() as there, poller(there) as client, probing(there, client.sid) as moving:
        await moving.say(b"", 10)
        await moving.say(b"a ping", 9)
        await moving.say("5")
        there.tell(1)
        assert await moving.frame() == '42/chat,["told",1]'


async def test_an_upgraded_client_that_vanishes_leaves_nothing() -> None:
    async with house() as there, poller(there) as client:
        async with probing(there, client.sid) as moving:
            await moving.say("5")
            await moving.say('42/chat,1["stuck",1]')
            await moving.say('42/chat,2["echo",1]')
            assert await moving.frame() == "43/chat,2[1]"
            await moving.vanish()
        await eventually(lambda: not len(there.sessions))
        there.gate.set()
        await nothing_is_left(there)


async def test_a_second_upgrade_of_one_session_is_refused() -> None:
    async with house() as there, poller(there) as client, probing(there, client.sid), peer(there.port) as second:
        upgrade = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        assert (await second.request(f"GET {WEBSOCKET}&sid={client.sid}", b"", *upgrade, key))[0] == 400


# origins


async def test_pages_of_listed_origins_may_poll_and_others_may_not() -> None:
    async with house(origins=("http://app.example",)) as there, peer(there.port) as client:
        status, headers, body = await client.request(f"GET {POLL}", b"", "Origin: http://app.example")
        assert status == 200
        assert headers["access-control-allow-origin"] == "http://app.example"
        assert headers["access-control-allow-credentials"] == "true"
        assert headers["vary"] == "Origin"
        status, headers, _ = await client.request(
            f"OPTIONS {POLL}",
            b"",
            "Origin: http://app.example",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: content-type",
        )
        assert status == 204
        assert headers["access-control-allow-methods"] == "GET, POST"
        assert headers["access-control-allow-headers"] == "content-type"
        for method in ("GET", "OPTIONS"):
            status, headers, body = await client.request(f"{method} {POLL}", b"", "Origin: http://evil.example")
            assert status == 403
            assert "access-control-allow-origin" not in headers
            assert json.loads(body) == {"code": 4, "message": "Forbidden"}
        status, headers, _ = await client.request(f"GET {POLL}", b"", "Origin: http://x")
        assert status == 200, "the server's own pages"


async def test_draining_servers_open_no_session_and_serve_those_they_have() -> None:
    async with house() as there, poller(there) as client:
        there.sessions.draining = True
        assert (await client.request(f"GET {POLL}"))[0] == 503
        there.tell(1)
        assert await client.poll() == b'42/chat,["told",1]'
