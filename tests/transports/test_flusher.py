"""The flusher and its writers, on real sockets."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from wegent.core.load import Load
from wegent.core.outbox import Outbox, OutboxLimits
from wegent.transports.flusher import BATCH, Flusher, SocketWriter
from wegent.transports.websocket import RawWire

LONG = 10_000.0


class End:
    """A connection's outbox, its writer, and the peer who reads it."""

    def __init__(self, flusher: Flusher, limits: OutboxLimits | None = None) -> None:
        self.sock, peer = socket.socketpair()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        self.peer = trio.socket.from_stdlib_socket(peer)
        self.failures = 0
        self.overflows = 0
        self.box = Outbox(RawWire(), limits or OutboxLimits(), self._overflow)
        self.writer = SocketWriter(flusher, self.sock, self.box, self._fail)
        self.box.attach(self.writer)

    def _fail(self) -> None:
        self.failures += 1

    def _overflow(self) -> None:
        self.overflows += 1

    def put_text(self, text: bytes) -> None:
        """As rooms do."""
        self.box.queue.append(text)
        self.box.size += len(text)
        self.box.schedule_text()

    def count_sends(self) -> list[bytes]:
        """What each send from now on is given."""
        sends = []
        send = self.sock.send

        def counted(data: bytes) -> int:
            sends.append(bytes(data))
            return send(data)

        self.writer._send = counted
        return sends

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := await self.peer.recv(size - len(data))):
            data += more
        return data

    def close(self) -> None:
        trio.lowlevel.notify_closing(self.sock)
        self.sock.close()
        self.peer.close()


class Steady(Load):
    """A load that does not change by itself."""

    def observe(self, passed: float, idle: float) -> None:
        """Nothing."""


@pytest.fixture
async def flusher(nursery: trio.Nursery) -> Flusher:
    flusher = Flusher(Steady())
    await nursery.start(flusher.run)
    return flusher


@pytest.fixture
async def loaded(flusher: Flusher) -> Flusher:
    """A flusher whose next beat comes, where the clock jumps, once nobody has anything to do."""
    flusher.load.rest = LONG
    with ends(flusher) as [end]:
        end.put_text(b"the first one waits for no other")
        await end.read(32)
    return flusher


@contextmanager
def ends(flusher: Flusher, count: int = 1, limits: OutboxLimits | None = None) -> Iterator[list[End]]:
    made = [End(flusher, limits) for _ in range(count)]
    try:
        yield made
    finally:
        for end in made:
            end.close()


async def test_a_frame_leaves_at_once_when_nothing_else_is_to_do(flusher: Flusher) -> None:
    with ends(flusher) as [end]:
        await wait_all_tasks_blocked()
        end.box.put(b"hello")
        assert await end.read(5) == b"hello"


async def test_what_was_queued_before_there_was_a_writer_is_written(flusher: Flusher) -> None:
    with ends(flusher) as [end]:
        box = Outbox(RawWire(), OutboxLimits(), lambda: None)
        box.put(b"early ")
        box.attach(SocketWriter(flusher, end.sock, box, lambda: None))
        box.put(b"late")
        assert await end.read(10) == b"early late"


async def test_order_is_kept_over_writes_that_are_cut_short(flusher: Flusher) -> None:
    frames = [b"%07d " % n + b"x" * (n % 50) for n in range(20_000)]
    whole = b"".join(frames)
    with ends(flusher, limits=OutboxLimits(hard=1 << 30)) as [end]:
        got = bytearray()

        async def read_slowly() -> None:
            while len(got) < len(whole):
                got.extend(await end.peer.recv(3_001))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_slowly)
            for n, frame in enumerate(frames):
                end.box.put(frame)
                if n % 100 == 0:
                    await trio.lowlevel.checkpoint()
        assert bytes(got) == whole
        assert not end.box.queue
        assert end.failures == 0


async def test_one_frame_longer_than_a_batch_is_written_whole(flusher: Flusher) -> None:
    with ends(flusher) as [end]:
        frame = bytes(range(256)) * (BATCH // 64)
        end.box.put(b"<")
        end.box.put(frame)
        end.box.put(b">")
        assert await end.read(len(frame) + 2) == b"<" + frame + b">"


async def test_who_does_not_read_holds_nobody_else_up(flusher: Flusher) -> None:
    with ends(flusher, 50) as [silent, *others]:
        silent.box.put(b"x" * 1_000_000)
        await wait_all_tasks_blocked()
        assert flusher.blocked == 1
        for round_ in range(100):
            silent.box.put(b"y")
            for end in others:
                end.box.put(b"%08d" % round_)
        for end in others:
            assert await end.read(800) == b"".join(b"%08d" % n for n in range(100))
        assert silent.box.size == 100, "what waits stays in the outbox, where it can be joined"
        assert await silent.read(1_000_100) == b"x" * 1_000_000 + b"y" * 100
        await wait_all_tasks_blocked()
        assert flusher.blocked == 0


async def test_drained_waits_for_the_last_byte(flusher: Flusher) -> None:
    with ends(flusher) as [end]:
        await end.writer.drained()
        end.box.put(b"x" * 300_000)
        done = []

        async def wait() -> None:
            await end.writer.drained()
            done.append(True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            assert not done
            await end.read(300_000)
        assert done


@pytest.mark.parametrize("blocked", [False, True])
async def test_a_broken_socket_fails_its_writer_once_and_is_left_alone(flusher: Flusher, blocked: bool) -> None:
    with ends(flusher, 2) as [broken, other]:
        if blocked:
            broken.box.put(b"x" * 1_000_000)
            await wait_all_tasks_blocked()
        broken.peer.close()
        for _ in range(3):
            broken.box.put(b"y")
            await wait_all_tasks_blocked()
        assert broken.failures == 1
        await broken.writer.drained()
        assert flusher.blocked == 0
        other.box.put(b"hello")
        assert await other.read(5) == b"hello"


async def test_closing_a_blocked_socket_wakes_who_waits_for_it(flusher: Flusher) -> None:
    with ends(flusher) as [end]:
        end.box.put(b"x" * 1_000_000)
        await wait_all_tasks_blocked()
        trio.lowlevel.notify_closing(end.sock)
        end.sock.close()
        await wait_all_tasks_blocked()
        assert (end.failures, flusher.blocked) == (1, 0)


async def test_past_the_hard_limit_the_connection_is_given_up_and_what_is_put_next_comes_next(flusher: Flusher) -> None:
    with ends(flusher, limits=OutboxLimits(high=1_000, hard=100_000)) as [end]:
        end.box.put(b"x" * 90_000)
        await wait_all_tasks_blocked()
        end.box.put(b"y" * 99_000)
        assert end.overflows == 0
        end.box.put(b"z" * 2_000)
        assert end.overflows == 1
        end.box.clear()
        end.box.put(b"goodbye")
        assert await end.read(90_007) == b"x" * 90_000 + b"goodbye"


async def test_text_leaves_at_once_while_there_is_time_to_spare(flusher: Flusher) -> None:
    with ends(flusher) as [end]:
        sends = end.count_sends()
        for n in range(3):
            end.put_text(b"%d" % n)
            assert await end.read(1) == b"%d" % n
        assert len(sends) == 3


async def test_the_first_text_after_a_pause_leaves_at_once_under_load_too(flusher: Flusher) -> None:
    flusher.load.rest = LONG  # as there is no clock here that jumps, waiting would hang
    with ends(flusher) as [end]:
        end.put_text(b"hello")
        assert await end.read(5) == b"hello"


async def test_under_load_text_waits_for_the_beat_and_each_socket_is_written_once(
    loaded: Flusher, autojump_clock: MockClock
) -> None:
    with ends(loaded, 40) as several:
        sends = [end.count_sends() for end in several]
        for n in range(10):
            for end in several:
                end.put_text(b"%d" % n)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
        assert not any(sends)
        for end in several:
            assert await end.read(10) == b"0123456789"
        assert sends == [[b"0123456789"]] * 40


async def test_what_is_not_text_waits_for_no_beat_and_takes_the_text_before_it_along(
    loaded: Flusher, autojump_clock: MockClock
) -> None:
    with ends(loaded, 2) as [end, other]:
        end.put_text(b"text ")
        other.put_text(b"later")
        end.box.put(b"ack ")
        before = trio.current_time()
        assert await end.read(9) == b"text ack "
        assert trio.current_time() == before
        sends = end.count_sends()
        end.put_text(b"more")
        assert await end.read(4) == b"more"
        assert sends == [b"more"]
        assert await other.read(5) == b"later"


async def test_a_beat_leaves_alone_who_is_blocked(loaded: Flusher, autojump_clock: MockClock) -> None:
    with ends(loaded) as [end]:
        end.put_text(b"<")
        end.box.put(b"x" * 300_000)
        await wait_all_tasks_blocked()
        assert loaded.blocked == 1
        end.put_text(b">")
        await trio.sleep(2 * LONG)
        assert await end.read(300_002) == b"<" + b"x" * 300_000 + b">"
        assert end.failures == 0


async def test_when_the_load_has_gone_what_waited_leaves_in_its_order(
    loaded: Flusher, autojump_clock: MockClock
) -> None:
    with ends(loaded) as [end]:
        end.put_text(b"early ")
        loaded.load.rest = 0
        end.put_text(b"late")
        assert await end.read(10) == b"early late"


async def test_who_ends_while_text_waits_has_it_written_first(loaded: Flusher, autojump_clock: MockClock) -> None:
    with ends(loaded) as [end]:
        end.put_text(b"last words")
        await end.writer.drained()
        assert await end.read(10) == b"last words"


async def test_a_broken_socket_is_left_alone_by_the_beat(loaded: Flusher, autojump_clock: MockClock) -> None:
    with ends(loaded, 2) as [broken, other]:
        broken.put_text(b"x")
        other.put_text(b"hello")
        broken.box.put(b"y")
        broken.peer.close()
        assert await other.read(5) == b"hello"
        assert broken.failures <= 1


@pytest.mark.parametrize("seed", range(20))
async def test_order_is_kept_whatever_waits_for_what(loaded: Flusher, autojump_clock: MockClock, seed: int) -> None:
    rng = random.Random(seed)
    with ends(loaded, limits=OutboxLimits(hard=1 << 30)) as [end]:
        whole, got = bytearray(), bytearray()
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                while len(got) < size:
                    got.extend(await end.peer.recv(rng.choice((100, 20_000))))

            frames = [b"%05d " % n + b"x" * rng.choice((1, 1, 50, 40_000)) for n in range(300)]
            size = sum(map(len, frames))
            nursery.start_soon(read)
            for frame in frames:
                whole += frame
                rng.choice((end.put_text, end.box.put))(frame)
                loaded.load.rest = rng.choice((0.0, 0.01, LONG))
                if rng.random() < 0.2:
                    await rng.choice((trio.lowlevel.checkpoint, wait_all_tasks_blocked))()
        assert got == whole
        assert (loaded.blocked, end.box.scheduled) == (0, False)
