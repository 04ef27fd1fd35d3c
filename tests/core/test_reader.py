"""One task reads for all: what arrives is fed in order, and cancellation loses nothing that was read."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from wegent.core.load import Load
from wegent.core.reader import Reader


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader()
    async with trio.open_nursery() as nursery:
        await nursery.start(reader.run)
        yield reader
        nursery.cancel_scope.cancel()


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


async def test_what_arrives_is_taken_in_order_until_the_end(reader: Reader) -> None:
    ours, theirs = pair()
    got = bytearray()

    def take(data: bytes) -> bool:
        got.extend(data)
        return True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.feed, ours, take)
        for n in range(100):
            theirs.send(b"%d," % n)
            await trio.lowlevel.checkpoint()
        theirs.close()
    assert got == b"".join(b"%d," % n for n in range(100))
    ours.close()


async def test_feed_returns_when_no_more_is_wanted_and_goes_on_later(reader: Reader) -> None:
    ours, theirs = pair()
    theirs.send(b"one")
    assert await reader.feed(ours, lambda data: False) is True
    theirs.send(b"two")
    theirs.close()
    got: list[bytes] = []

    def take(data: bytes) -> bool:
        got.append(data)
        return True

    assert await reader.feed(ours, take) is False
    assert got == [b"two"]
    ours.close()


async def test_what_take_raises_reaches_its_own_task_only(reader: Reader) -> None:
    ours, theirs = pair()
    other, far = pair()
    got: list[bytes] = []

    def fail(_: bytes) -> bool:
        raise ValueError("planted")

    def take(data: bytes) -> bool:
        got.append(data)
        return False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.feed, other, take)
        await trio.testing.wait_all_tasks_blocked()
        theirs.send(b"x")
        with pytest.raises(ValueError, match="planted"):
            await reader.feed(ours, fail)
        far.send(b"y")
    assert got == [b"y"]
    for each in (ours, theirs, other, far):
        each.close()


async def test_a_cancelled_feed_takes_nothing_more(reader: Reader) -> None:
    ours, theirs = pair()
    got: list[bytes] = []

    def take(data: bytes) -> bool:
        got.append(data)
        scope.cancel()
        return True

    with trio.CancelScope() as scope:
        theirs.send(b"first")
        await reader.feed(ours, take)
    assert scope.cancelled_caught
    theirs.send(b"second")
    await trio.testing.wait_all_tasks_blocked()
    assert got == [b"first"]
    assert ours.recv(10) == b"second"
    ours.close()
    theirs.close()


async def test_where_nobody_reads_any_more_nobody_waits() -> None:
    ours, theirs = pair()
    reader = Reader()
    async with trio.open_nursery() as nursery, trio.open_nursery() as reading:
        await reading.start(reader.run)
        nursery.start_soon(reader.feed, ours, lambda data: True)
        await trio.testing.wait_all_tasks_blocked()
        reading.cancel_scope.cancel()
    ours.close()
    theirs.close()


async def test_what_arrives_while_a_reader_rests_is_taken_in_one_piece() -> None:
    load = Load()
    load.observe(passed=10, idle=0)
    reader = Reader(load, 0.05)
    ours, theirs = pair()
    got: list[bytes] = []
    first = trio.Event()

    def take(data: bytes) -> bool:
        got.append(data)
        first.set()
        return len(got) < 2

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.run)
        async with trio.open_nursery() as feeding:
            feeding.start_soon(reader.feed, ours, take)
            theirs.send(b"a")
            await first.wait()
            for piece in (b"b", b"c", b"d"):
                theirs.send(piece)
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert got == [b"a", b"bcd"]
    ours.close()
    theirs.close()


async def test_a_feed_that_is_stopped_ends_like_its_socket(reader: Reader) -> None:
    ours, theirs = pair()
    ended: list[bool] = []

    async def feed() -> None:
        ended.append(await reader.feed(ours, lambda data: True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        await trio.testing.wait_all_tasks_blocked()
        reader.stop(ours)
        reader.stop(ours)  # no feed is there any more
    assert ended == [False]
    ours.close()
    reader.stop(ours)
    theirs.close()
