"""The flusher and its writers, on real sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from wegent.core.outbox import Outbox, OutboxLimits
from wegent.transports.flusher import BATCH, Flusher, SocketWriter
from wegent.transports.websocket import RawWire


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

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := await self.peer.recv(size - len(data))):
            data += more
        return data

    def close(self) -> None:
        trio.lowlevel.notify_closing(self.sock)
        self.sock.close()
        self.peer.close()


@pytest.fixture
async def flusher(nursery: trio.Nursery) -> Flusher:
    flusher = Flusher()
    await nursery.start(flusher.run)
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
