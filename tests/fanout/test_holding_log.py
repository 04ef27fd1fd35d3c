"""A shared log that goes away, comes back empty or short; and the worker that writes meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock as Clock

from wegent.core.errors import BrokerAway, OffsetMismatch, Sealed
from wegent.core.model import CONTENT, THINKING, Ending, Entry, Snapshot, StreamId, Text, Value
from wegent.core.ports.streamlog import StreamLog
from wegent.core.replica import Replica
from wegent.core.timers import Timers
from wegent.fanout.holding import AGAIN, HoldingLog
from wegent.fanout.memory import MemoryStreamLog
from wegent.testing.checkpoints import Cut, at_every_checkpoint
from wegent.testing.streamlog_contract import DONE, StreamLogContract, content, stream, text, value


class Flaky(StreamLog):
    """A log in memory that can be away, slow, forget, and do what it is asked without saying so."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self.kept = MemoryStreamLog(timers)
        self.away = self.mute = False
        self.pause = 0.0
        self.calls: list[str] = []

    def lose(self) -> None:
        self.kept = MemoryStreamLog(self._timers)

    def shorten(self, of: StreamId, length: int) -> None:
        whole = self.kept.replica(of).text()
        self.kept.forget(of)
        self.kept.append_now(of, [content(0, whole[:length])])

    async def _pass(self, name: str) -> None:
        self.calls.append(name)
        await trio.lowlevel.checkpoint()
        if self.pause:
            await trio.sleep(self.pause)
        if self.away:
            raise BrokerAway("away")

    def _answer(self) -> None:
        if self.mute:
            raise BrokerAway("no reply")

    async def append(self, of: StreamId, entries: Sequence[Entry]) -> None:
        await self._pass("append")
        await self.kept.append(of, entries)
        self._answer()

    async def read(self, of: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        await self._pass("read")
        return await self.kept.read(of, since)

    async def restore(self, of: StreamId, snapshot: Snapshot) -> None:
        await self._pass("restore")
        await self.kept.restore(of, snapshot)
        self._answer()

    async def end(self, of: StreamId, ending: Ending, *, keep: float) -> None:
        await self._pass("end")
        await self.kept.end(of, ending, keep=keep)
        self._answer()


class Writer:
    """A worker with one stream, as `Streams` would write it."""

    def __init__(self, timers: Timers) -> None:
        self.shared = Flaky(timers)
        self.log = HoldingLog(self.shared, timers)
        self.stream = stream()
        self.replica = Replica(self.stream)
        self.log.hold(self.replica, new=True)

    async def say(self, delta: str, *values: Value) -> None:
        entries = [content(self.replica.length(), delta), *values]
        await self.log.append(self.stream, entries)
        self.replica.apply(entries)

    def back(self) -> None:
        self.shared.away = self.shared.mute = False
        self.log.returned()

    async def kept(self) -> str:
        return await text(self.shared.kept, self.stream)


@pytest.fixture
async def writer(nursery: trio.Nursery) -> Writer:
    timers = Timers()
    nursery.start_soon(timers.run)
    writer = Writer(timers)
    nursery.start_soon(writer.log.run)
    return writer


class TestNobodysStreams(StreamLogContract):
    """What the worker does not hold is the shared log's alone."""

    @pytest.fixture
    async def log(self, nursery: trio.Nursery) -> StreamLog:
        timers = Timers()
        nursery.start_soon(timers.run)
        return HoldingLog(MemoryStreamLog(timers), timers)


async def test_a_run_goes_on_while_the_log_is_away_and_is_written_back(writer: Writer, autojump_clock: Clock) -> None:
    await writer.say("before ")
    writer.shared.away = True
    began = trio.current_time()
    for _ in range(1_000):
        await writer.say("x", value("a", writer.replica.length()))
    assert trio.current_time() - began < 1
    assert len(writer.shared.calls) < 10
    assert await writer.kept() == "before "
    writer.back()
    await trio.testing.wait_all_tasks_blocked()
    assert await writer.kept() == "before " + 1_000 * "x"
    assert writer.log.behind == 0
    await writer.say("after")
    assert (await writer.kept())[-6:] == "xafter"


async def test_the_next_append_after_the_return_brings_what_was_before_it(
    writer: Writer, autojump_clock: Clock
) -> None:
    writer.shared.away = True
    await writer.say("a")
    writer.shared.pause = 5
    writer.back()
    await writer.say("b")
    assert await writer.kept() == "ab"


async def test_what_the_log_took_without_saying_so_is_not_taken_twice(writer: Writer, autojump_clock: Clock) -> None:
    writer.shared.mute = True
    await writer.say("a", value("v", 1))
    writer.back()
    await writer.say("b")
    assert await writer.kept() == "ab"


@pytest.mark.parametrize("told", [True, False], ids=["of which it is told", "of which nobody tells"])
@pytest.mark.parametrize("left", [0, 1, 2])
async def test_a_log_that_lost_text_gets_it_again(writer: Writer, autojump_clock: Clock, told: bool, left: int) -> None:
    await writer.say("ab")
    await writer.say("cd", value("v", 1))
    writer.shared.shorten(writer.stream, left)
    if told:
        writer.back()
        await trio.testing.wait_all_tasks_blocked()
        assert await writer.kept() == "abcd"
    await writer.say("e")
    assert await writer.kept() == "abcde"
    assert writer.shared.kept.replica(writer.stream).values == {"v": value("v", 1)}


async def test_quiet_streams_that_lost_nothing_cost_one_look(writer: Writer, autojump_clock: Clock) -> None:
    await writer.say("a", value("v", 1))
    writer.shared.calls.clear()
    writer.back()
    await trio.testing.wait_all_tasks_blocked()
    assert writer.shared.calls == ["read"]


async def test_a_log_that_refuses_for_long_is_asked_once_a_second(writer: Writer, autojump_clock: Clock) -> None:
    writer.shared.away = True
    for _ in range(100):
        await writer.say("a")
        await trio.sleep(0.1)
    assert len(writer.shared.calls) < 4 * 10 / AGAIN
    writer.shared.away = False  # and nobody says so
    await trio.sleep(AGAIN * 1.1)
    assert await writer.kept() == 100 * "a"


async def test_a_stream_that_ended_meanwhile_is_sealed_later_and_kept_no_longer(
    writer: Writer, autojump_clock: Clock
) -> None:
    await writer.say("a")
    writer.shared.away = True
    await writer.say("b")
    await writer.log.end(writer.stream, DONE, keep=60)
    await trio.sleep(30)
    writer.back()
    await trio.testing.wait_all_tasks_blocked()
    found = await writer.shared.kept.read(writer.stream)
    assert found is not None
    assert (found.texts[CONTENT], found.ending) == ("ab", DONE)
    await trio.sleep(31)
    assert await writer.shared.kept.read(writer.stream) is None


async def test_a_log_that_comes_back_too_late_is_left_alone(writer: Writer, autojump_clock: Clock) -> None:
    writer.shared.away = True
    await writer.say("a")
    await writer.log.end(writer.stream, DONE, keep=60)
    await trio.sleep(61)
    writer.back()
    await trio.testing.wait_all_tasks_blocked()
    assert await writer.shared.kept.read(writer.stream) is None


@pytest.mark.parametrize("away", [False, True], ids=["at once", "while the log was away"])
@pytest.mark.parametrize("left", ["text", "other text", "values", "ending"])
async def test_what_an_earlier_database_left_under_the_same_name_is_dropped(
    writer: Writer, autojump_clock: Clock, left: str, away: bool
) -> None:
    kept = writer.shared.kept
    if left == "ending":
        await kept.end(writer.stream, DONE, keep=600)
    else:
        entries = {"text": content(0, "old"), "other text": Text(THINKING, 0, "old"), "values": value("v", 9)}
        await kept.append(writer.stream, [entries[left]])
    writer.shared.away = away
    await writer.say("a", value("v", 1))
    writer.back()
    await trio.sleep(2 * AGAIN)
    await writer.say("b")
    found = await kept.read(writer.stream)
    assert found is not None
    assert (dict(found.texts), found.values, found.ending) == ({CONTENT: "ab"}, (value("v", 1),), None)


async def test_what_was_there_when_a_stream_is_taken_up_is_not_dropped(writer: Writer, autojump_clock: Clock) -> None:
    other = stream()
    writer.log.hold(Replica(other))
    await writer.shared.kept.append(other, [Text(THINKING, 0, "theirs")])
    await writer.log.append(other, [content(0, "a")])
    assert writer.shared.kept.replica(other).lengths() == {CONTENT: 1, THINKING: 6}


async def test_what_others_wrote_or_ended_is_not_overwritten(writer: Writer, autojump_clock: Clock) -> None:
    await writer.say("a")
    await writer.shared.kept.append(writer.stream, [content(1, "theirs")])
    with pytest.raises(OffsetMismatch):
        await writer.log.append(writer.stream, [content(1, "mine")])
    await writer.shared.kept.end(writer.stream, DONE, keep=60)
    for _ in range(2):
        with pytest.raises(Sealed):
            await writer.log.append(writer.stream, [content(7, "mine")])
        writer.back()
    await trio.testing.wait_all_tasks_blocked()
    assert writer.log.behind == 0


async def test_a_stream_is_read_and_recalled_while_the_log_is_away(writer: Writer, autojump_clock: Clock) -> None:
    writer.shared.away = True
    await writer.say("abc")
    assert await text(writer.log, writer.stream, {CONTENT: 1}) == "bc"
    other = stream()
    with pytest.raises(BrokerAway):
        await writer.log.read(other)
    await writer.log.restore(other, Snapshot({CONTENT: "stored"}))
    assert await text(writer.log, other) == "stored"
    writer.back()
    await trio.testing.wait_all_tasks_blocked()
    assert await text(writer.shared.kept, other) == "stored"


async def test_a_forgotten_stream_is_not_written_back(writer: Writer, autojump_clock: Clock) -> None:
    writer.shared.away = True
    await writer.say("a")
    writer.log.forget(writer.stream)
    writer.back()
    await trio.testing.wait_all_tasks_blocked()
    assert await writer.shared.kept.read(writer.stream) is None


@pytest.mark.parametrize("away", [False, True])
async def test_an_append_cancelled_anywhere_can_be_repeated(writer: Writer, autojump_clock: Clock, away: bool) -> None:
    await writer.say("a")

    async def attempt(cut: Cut) -> None:
        writer.shared.away = away
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await writer.say("b")
        writer.back()
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await writer.say("c")
        await writer.say("d")
        assert await writer.kept() == writer.replica.text()

    assert await at_every_checkpoint(attempt) >= 2


STEPS = st.lists(
    st.sampled_from(["say", "say", "say", "value", "away", "mute", "back", "lose", "quietly back", "wait", "slow"]),
    max_size=30,
)


@settings(deadline=None)
@given(STEPS, st.booleans())
def test_whatever_happens_the_log_has_it_all_in_the_end(steps: list[str], ends: bool) -> None:
    async def live() -> None:
        async with trio.open_nursery() as nursery:
            timers = Timers()
            nursery.start_soon(timers.run)
            writer = Writer(timers)
            nursery.start_soon(writer.log.run)
            for number, step in enumerate(steps):
                await take(writer, step, number)
            if ends:
                await writer.log.end(writer.stream, DONE, keep=1_000)
            writer.back()
            await trio.sleep(60)
            found = await writer.shared.kept.read(writer.stream) or Snapshot({})
            assert found.texts.get(CONTENT, "") == writer.replica.text()
            assert {each.key: each for each in found.values} == writer.replica.values
            assert found.ending == (DONE if ends else None)
            nursery.cancel_scope.cancel()

    trio.run(live, clock=Clock(autojump_threshold=0))


async def take(writer: Writer, step: str, number: int) -> None:
    shared = writer.shared
    if step == "say":
        await writer.say(f"é{number} ")
    elif step == "value":
        await writer.say("", value("a", number, n=number))
    elif step in ("away", "mute"):
        setattr(shared, step, True)
    elif step == "back":
        writer.back()
    elif step == "quietly back":
        shared.away = shared.mute = False
    elif step == "lose":
        shared.lose()
    elif step == "wait":
        await trio.sleep(0.7)
    else:
        shared.pause = 0.0 if shared.pause else 0.3
