"""Lanes, acks both ways, limits, deadlines of tokens."""

import logging

import pytest
import trio

from wegent.core.clock import VirtualClock
from wegent.core.errors import Conflict, NotFound, Overloaded
from wegent.core.instruments import Registry
from wegent.core.model import Principal
from wegent.core.namespaces import Ack, Namespace
from wegent.core.outbox import OutboxLimits
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session, SessionLimits, Sessions
from wegent.core.timers import Timers
from wegent.testing.memory_client import ConnectionLost, MemoryClient


class Bench:
    """Sessions with a namespace of handlers that a test adds."""

    def __init__(self, limits=None):
        self.clock = VirtualClock()
        self.registry = Registry()
        self.timers = Timers()
        self.rooms = Rooms(self.registry)
        self.sessions = Sessions(self.rooms, self.timers, self.clock, self.registry, limits)
        self.expires_in = None
        self.namespace = Namespace("/x", authenticate=self.authenticate)
        self.gate = trio.Event()
        self.handled = []

        @self.namespace.on("slow", lane=lambda data: data["task"])
        async def slow(session: Session, data):
            await self.gate.wait()
            self.handled.append(data["n"])
            return {"n": data["n"]}

        @self.namespace.on("now", urgent=True)
        async def now(session: Session, data):
            await trio.lowlevel.checkpoint()
            return {"now": True}

        @self.namespace.on("plain")
        def plain(session: Session, data):
            return {"plain": data}

    async def authenticate(self, auth):
        await trio.lowlevel.checkpoint()
        expires = None if self.expires_in is None else self.clock.time() + self.expires_in
        return Principal(7, auth["token"], expires_at=expires)

    async def client(self, nursery):
        client = MemoryClient(self.sessions, self.namespace, nursery, token="t", limits=OutboxLimits())
        await client.connect()
        return client


@pytest.fixture
async def bench(nursery):
    made = Bench()
    nursery.start_soon(made.timers.run)
    return made


async def test_events_of_one_lane_are_handled_in_order(bench, nursery, autojump_clock):
    client = await bench.client(nursery)
    for n in range(5):
        client.send("slow", {"task": 1, "n": n})
    await trio.sleep(1)
    bench.gate.set()
    await client.emit("slow", {"task": 1, "n": 5})
    assert bench.handled == [0, 1, 2, 3, 4, 5]


async def test_a_stuck_lane_delays_neither_other_lanes_nor_urgent_nor_plain_events(bench, nursery, autojump_clock):
    client = await bench.client(nursery)
    client.send("slow", {"task": 1, "n": 0})

    @bench.namespace.on("other", lane=lambda data: data["task"])
    async def other(session, data):
        return {"other": True}

    before = trio.current_time()
    assert await client.emit("other", {"task": 2}) == {"other": True}
    assert await client.emit("now", {}) == {"now": True}
    assert await client.emit("plain", 3) == {"plain": 3}
    assert trio.current_time() == before
    assert not bench.handled


async def test_a_handler_may_await_an_ack_of_its_own_client(bench, nursery, autojump_clock):
    @bench.namespace.on("ask")
    async def ask(session: Session, data):
        return {"answer": await session.call("question", {"x": data})}

    client = await bench.client(nursery)
    client.answers["question"] = lambda data: data["x"] + 1
    assert await client.emit("ask", 4) == {"answer": 5}


async def test_an_ack_that_never_comes_is_waited_for_in_vain_but_not_for_ever(bench, nursery, autojump_clock):
    failed = []

    @bench.namespace.on("ask")
    async def ask(session: Session, data):
        try:
            await session.call("question", {}, timeout=3)
        except trio.TooSlowError:
            failed.append("slow")

    client = await bench.client(nursery)
    await client.emit("ask", None)
    assert failed == ["slow"]
    session = client.connection.session
    session.receive_ack(12345, "nobody asked")
    assert not session._calls


async def test_a_call_ends_with_its_client(bench, nursery, autojump_clock):
    client = await bench.client(nursery)
    session = client.connection.session
    async with trio.open_nursery() as inner:

        async def call():
            with pytest.raises(Conflict):
                await session.call("question", {})

        inner.start_soon(call)
        await trio.sleep(0.1)
        client.disconnect()
    with pytest.raises(Conflict):
        await session.call("question", {})


async def test_no_more_than_so_many_calls_wait(nursery, autojump_clock):
    bench = Bench(SessionLimits(calls=1))
    client = await bench.client(nursery)
    session = client.connection.session
    nursery.start_soon(session.call, "question", {})
    await trio.sleep(0.1)
    with pytest.raises(Overloaded):
        await session.call("question", {})
    session.receive_ack(1, None)


async def test_what_a_handler_raises_is_an_ack(bench, nursery, autojump_clock, caplog):
    @bench.namespace.on("known")
    async def known(session, data):
        raise NotFound("there is no such thing")

    @bench.namespace.on("unknown")
    async def unknown(session, data):
        raise ValueError("a secret of the server")

    @bench.namespace.on("unspeakable")
    async def unspeakable(session, data):
        return {"x": "\ud800"}

    @bench.namespace.on("plainly")
    def plainly(session, data):
        raise KeyError("another secret")

    client = await bench.client(nursery)
    assert await client.emit("known", {}) == {"error": "there is no such thing", "code": "NOT_FOUND"}
    with caplog.at_level(logging.CRITICAL):
        for event in ("unknown", "unspeakable", "plainly"):
            ack = await client.emit(event, {})
            assert ack["code"] == "INTERNAL"
            assert "secret" not in ack["error"]
    assert (await client.emit("nothing", {}))["code"] == "NOT_FOUND"
    assert client.connected


async def test_only_the_first_ack_counts(bench, nursery, autojump_clock):
    @bench.namespace.on("early")
    async def early(session: Session, data, ack: Ack):
        ack({"first": True})
        ack({"second": True})
        return {"third": True}

    client = await bench.client(nursery)
    assert await client.emit("early", {}) == {"first": True}
    await trio.sleep(0.1)
    assert len(client.frames) == 1


async def test_past_its_limits_a_session_waits_and_then_says_overloaded(nursery, autojump_clock):
    bench = Bench(SessionLimits(lanes=2, waiting=3, patience=5))
    nursery.start_soon(bench.timers.run)
    client = await bench.client(nursery)
    for task in (1, 2):
        client.send("slow", {"task": task, "n": task})
    await trio.sleep(0.1)
    before = trio.current_time()
    ack = await client.emit("slow", {"task": 3, "n": 3})
    assert ack["code"] == "OVERLOADED"
    assert trio.current_time() - before == pytest.approx(5)
    bench.gate.set()


async def test_one_who_sends_too_much_is_read_on_when_there_is_room(nursery, autojump_clock):
    bench = Bench(SessionLimits(lanes=2, waiting=3, patience=5))
    client = await bench.client(nursery)
    for n in range(4):
        client.send("slow", {"task": 1, "n": n})
    await trio.sleep(0.1)
    async with trio.open_nursery() as inner:
        inner.start_soon(client.emit, "slow", {"task": 1, "n": 4})
        await trio.sleep(1)
        bench.gate.set()
    assert bench.handled == [0, 1, 2, 3, 4]
    session = client.connection.session
    await trio.sleep(0.1)
    assert (session._waiting, session._lanes, session._urgent) == (0, {}, 0)


async def test_a_lost_connection_ends_its_lanes(bench, nursery, autojump_clock):
    client = await bench.client(nursery)
    async with trio.open_nursery() as inner:

        async def emit():
            with pytest.raises(ConnectionLost):
                await client.emit("slow", {"task": 1, "n": 0})

        inner.start_soon(emit)
        await trio.sleep(0.1)
        client.disconnect()
    await trio.sleep(0.1)
    assert len(bench.sessions) == 0
    bench.gate.set()
    await trio.sleep(0.1)
    assert bench.handled == []


async def test_a_token_ends_by_the_servers_clock(bench, nursery, autojump_clock):
    bench.expires_in = 30
    client = await bench.client(nursery)
    before = trio.current_time()
    error = await client.wait_for("auth:error")
    assert trio.current_time() - before == pytest.approx(30)
    assert error["code"] == "TOKEN_EXPIRED"
    await trio.sleep(0.1)
    assert not client.connected


async def test_a_deadline_can_be_moved(bench, nursery, autojump_clock):
    bench.expires_in = 30
    client = await bench.client(nursery)
    session = client.connection.session
    session.expire_at(bench.clock.time() + 100)
    await trio.sleep(60)
    assert client.connected
    session.expire_at(None)
    await trio.sleep(600)
    assert client.connected


async def test_a_draining_server_takes_only_what_is_urgent(bench, nursery, autojump_clock):
    client = await bench.client(nursery)
    bench.sessions.draining = True
    assert (await client.emit("plain", 1))["code"] == "SHUTTING_DOWN"
    assert await client.emit("now", {}) == {"now": True}
    with pytest.raises(Exception, match="shutting down"):
        await bench.client(nursery)


async def test_a_session_leaves_its_rooms_after_the_hook_has_seen_them(bench, nursery, autojump_clock):
    seen = []
    bench.namespace.connected(lambda session: bench.rooms.enter(session, "r"))
    bench.namespace.disconnected(lambda session: seen.append(list(session.rooms)))
    client = await bench.client(nursery)
    client.disconnect()
    await trio.sleep(0.1)
    assert seen == [["r"]]
    assert bench.rooms.get("/x", "r") is None
    assert bench.sessions.of_user(7) == []
    assert bench.sessions.connections() == set()
