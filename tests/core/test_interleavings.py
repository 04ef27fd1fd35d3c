"""Random lives of a task end whole; a server that breaks a law is found out.

More of them: WEGENT_INTERLEAVINGS=20000 WEGENT_SEED=1000000 pytest tests/core/test_interleavings.py
"""

import logging
import os

import pytest
from attrs import evolve

from wegent.core.catchup import CatchUp
from wegent.core.model import Text
from wegent.core.outbox import Outbox
from wegent.core.rooms import Joining as RoomJoining
from wegent.core.rooms import Rooms
from wegent.core.runs import Runs
from wegent.core.sink import StreamSink
from wegent.core.streams import Streams
from wegent.server.joining import Joining, _view
from wegent.server.telling import ChatVoice, Teller, task_room
from wegent.testing.chaos import Plan
from wegent.testing.simulator import SimulatedApplication, simulate

COUNT = int(os.environ.get("WEGENT_INTERLEAVINGS", "1000"))
FIRST = int(os.environ.get("WEGENT_SEED", "0"))
CHUNK = 50
BUSY = Plan(clients=3, actions=12, slow_store=0.5, pause=0.2)
FAR = evolve(BUSY, distant_log=True)


@pytest.fixture(autouse=True)
def quiet():
    """Failing engines and an absent store are what is tested here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_everybody_ends_with_what_the_engine_wrote(simulators, first):
    simulators.check(simulate, range(first, min(first + CHUNK, FIRST + COUNT)))


def test_the_same_seed_tells_the_same_story():
    one, other = simulate(5), simulate(5)
    assert (one.log, one.frames, one.runs) == (other.log, other.frames, other.runs)
    assert one.frames > 20


def found_out(application, words, *, seeds=400):
    """Whether any of the seeds brings a complaint with one of the words."""
    for seed in range(seeds):
        story = simulate(seed, FAR if seed % 2 else BUSY, application=application)
        if any(word in complaint for complaint in story.complaints for word in words):
            return True
    return False


class MembersAtOnce(SimulatedApplication):
    """Who joins is a member while the rows are still being read."""

    def make_joining(self):
        class Hasty(Joining):
            async def join(self, session, payload, ack):
                self._rooms.leave(session, task_room(payload.task_id))
                self._rooms.enter(session, task_room(payload.task_id))
                ack(self._ack(await self._store.read(lambda unit: _view(unit, session.principal, payload))))

        return Hasty(self.store, self.clock, self.rooms, self.streams)


class MembersTooLate(SimulatedApplication):
    """Who joins hears nothing of what happens while the rows are being read."""

    def make_joining(self):
        class Late(Joining):
            async def join(self, session, payload, ack):
                self._rooms.leave(session, task_room(payload.task_id))
                ack(self._ack(await self._store.read(lambda unit: _view(unit, session.principal, payload))))
                self._rooms.enter(session, task_room(payload.task_id))

        return Late(self.store, self.clock, self.rooms, self.streams)


class EmitsFirst(SimulatedApplication):
    """Text is told before it is in the log."""

    def make_streams(self):
        class Eager(Streams):
            async def append(self, replica, texts, values):
                placed = {channel: (replica.length(channel), delta) for channel, delta in texts.items()}
                entries = [Text(channel, offset, delta) for channel, (offset, delta) in placed.items()]
                self._tell(replica, placed, ())
                await self._log.append(replica.stream, [*entries, *values])
                if not self.local:
                    replica.apply([*entries, *values])
                if values:
                    self._tell(replica, {}, values)

        return Eager(self.log, self.rooms, self.timers, ChatVoice())


class EndsFirst(SimulatedApplication):
    """An ending overtakes text that a slow reader has yet to get."""

    def make_rooms(self):
        class Overtaking(Rooms):
            def emit(self, namespace, name, event, payload, **how):
                super().emit(namespace, name, event, payload, **how)
                room = self.get(namespace, name)
                for session in room.members() if room is not None else ():
                    _overtake(session.outbox)

        return Overtaking(self.registry)


def _overtake(box: Outbox):
    for index in range(len(box.queue) - 1, 0, -1):
        if isinstance(box.queue[index - 1], CatchUp) and not isinstance(box.queue[index], CatchUp):
            box.queue[index - 1], box.queue[index] = box.queue[index], box.queue[index - 1]


class ForgetsToFlush(SimulatedApplication):
    """A run ends without the text that was still pending."""

    def make_runs(self, executors):
        class Careless(Runs):
            def _open(self, job):
                run = super()._open(job)
                run.sink = NeverFlushed(self._streams, run.replica, self._clock, max_length=1_000_000)
                return run

        return Careless(
            self.book, self.streams, executors, self.teller, self.registry,
            clock=self.clock, owner=self.owner, limits=self.run_limits,
        )  # fmt: skip


class NeverFlushed(StreamSink):
    async def finish(self):
        """Forget it."""


class StatusFirst(SimulatedApplication):
    """`task:status` is told before the ending."""

    def make_teller(self):
        class Hasty(Teller):
            def ending(self, row, view):
                self.status(view)
                super().ending(row, view)

        return Hasty(self.rooms)


class EndsTwice(SimulatedApplication):
    """Every completed run is told to have failed as well."""

    def make_teller(self):
        class Doubting(Teller):
            def ended(self, finished, replica):
                super().ended(finished, replica)
                if finished.row.status == "COMPLETED":
                    self.ending(evolve(finished.row, status="FAILED", error_message="no"), finished.task)

        return Doubting(self.rooms)


class Tampering(SimulatedApplication):
    """The rooms of which one chunk in eight is `tampered` with."""

    def make_rooms(self):
        app = self

        class Tampered(Rooms):
            def emit_chunk(self, *chunk):
                if app.rng.random() < 0.125:
                    app.tamper(super().emit_chunk, chunk)
                else:
                    super().emit_chunk(*chunk)
                    app.after(super().emit_chunk)

        return Tampered(self.registry)

    def after(self, emit):
        """What follows an honest chunk."""


class Loses(Tampering):
    def tamper(self, emit, chunk):
        """It is gone."""


class Repeats(Tampering):
    def tamper(self, emit, chunk):
        emit(*chunk)
        emit(*chunk)


class Swaps(Tampering):
    kept = None

    def tamper(self, emit, chunk):
        self.kept = chunk

    def after(self, emit):
        if self.kept is not None:
            emit(*self.kept)
            self.kept = None


class ResumesAsIfJoined(SimulatedApplication):
    """A resume takes for known what only the ack of a join tells."""

    def make_rooms(self):
        class Forgetful(Rooms):
            def join(self, session, name):
                joining = super().join(session, name)
                return _Forgetful(self, joining.room, session)

        return Forgetful(self.registry)


class _Forgetful(RoomJoining):
    __slots__ = ()

    def complete(self, revision, first=(), *, of=None):
        super().complete(revision, first)


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (MembersAtOnce, "not_joined|repeat|misorder"),
        (MembersTooLate, "gap|holds of row|early_ending"),
        (EmitsFirst, "gap|not what|disagree|misorder"),
        (EndsFirst, "early_ending|after_ending"),
        (ForgetsToFlush, "not what the engine wrote"),
        (StatusFirst, "early_status"),
        (EndsTwice, "second_ending"),
        (Loses, "gap|early_ending"),
        (Repeats, "repeat"),
        (Swaps, "gap|misorder"),
        (ResumesAsIfJoined, "holds of row|gap|early_status"),
    ],
)
def test_a_broken_server_is_found_out(broken, word):
    assert found_out(broken, word.split("|"))


def test_an_honest_server_is_not_suspected():
    for seed in range(40):
        story = simulate(seed, FAR if seed % 2 else BUSY)
        assert not story.complaints, story
