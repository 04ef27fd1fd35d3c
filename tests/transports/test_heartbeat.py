"""Pings and their answers, on a virtual clock."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from wegent.core.timers import Timers
from wegent.transports.heartbeat import Heartbeat


class Peer:
    def __init__(self, timers: Timers, interval: float, timeout: float, *, answers: int) -> None:
        self.pings: list[float] = []
        self.dead: list[float] = []
        self.answers = answers
        self.heartbeat = Heartbeat(timers, interval, timeout, self.ping, self.die)

    def ping(self) -> None:
        self.pings.append(trio.current_time())
        if len(self.pings) <= self.answers:
            self.heartbeat.pong()

    def die(self) -> None:
        self.dead.append(trio.current_time())


async def lived(seconds: float, interval: float, timeout: float, *, answers: int) -> Peer:
    timers = Timers()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        peer = Peer(timers, interval, timeout, answers=answers)
        await trio.sleep(seconds)
        peer.pings = [round(at - start, 6) for at in peer.pings]
        peer.dead = [round(at - start, 6) for at in peer.dead]
        nursery.cancel_scope.cancel()
    return peer


async def test_pings_come_at_the_interval_while_they_are_answered(autojump_clock: MockClock) -> None:
    peer = await lived(110, 25, 20, answers=100)
    assert peer.pings == [25, 50, 75, 100]
    assert peer.dead == []


async def test_without_an_answer_the_peer_is_dead_once_after_the_timeout(autojump_clock: MockClock) -> None:
    peer = await lived(500, 25, 20, answers=2)
    assert peer.pings == [25, 50, 75]
    assert peer.dead == [95]


async def test_a_timeout_longer_than_the_interval_is_waited_for(autojump_clock: MockClock) -> None:
    peer = await lived(100, 5, 20, answers=2)
    assert peer.pings == [5, 25, 45]
    assert peer.dead == [65]


async def test_an_answer_to_nothing_is_no_answer_to_the_next_ping(autojump_clock: MockClock) -> None:
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        peer = Peer(timers, 25, 20, answers=0)
        peer.heartbeat.pong()
        await trio.sleep(46)
        assert len(peer.dead) == 1
        nursery.cancel_scope.cancel()


async def test_stopped_it_neither_pings_nor_dies(autojump_clock: MockClock) -> None:
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        waiting, asked = Peer(timers, 25, 20, answers=0), Peer(timers, 25, 20, answers=0)
        waiting.heartbeat.stop()
        await trio.sleep(30)
        asked.heartbeat.stop()
        await trio.sleep(1_000)
        assert (waiting.pings, len(asked.pings)) == ([], 1)
        assert waiting.dead + asked.dead == []
        nursery.cancel_scope.cancel()
