"""Random lives of a task on several workers end whole; a deployment that breaks a law is found out.

More of them: WEGENT_FLEETS=20000 WEGENT_SEED=1000000 pytest tests/core/test_fleet.py
"""

import logging
import os

import pytest
from attrs import evolve

from wegent.core.following import Heard
from wegent.core.order import MOST_HELD, Order
from wegent.core.relay import Relay
from wegent.core.told import Told
from wegent.testing.chaos import Plan
from wegent.testing.faulty_fanout import Rates
from wegent.testing.fleet import FleetWorker, simulate_fleet

COUNT = int(os.environ.get("WEGENT_FLEETS", "1000"))
FIRST = int(os.environ.get("WEGENT_SEED", "0"))
CHUNK = 50
LOSSY = Plan(clients=4, actions=12, slow_store=0.3, workers=3, rates=Rates(lost=0.1, again=0.1, late=0.3, lateness=0.1))

SHORT = evolve(LOSSY, clients=6, actions=4)


@pytest.fixture(autouse=True)
def quiet():
    """Failing engines, crashes and an absent log are what is tested here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_everybody_on_every_worker_ends_with_what_the_engine_wrote(simulators, first):
    simulators.check(simulate_fleet, range(first, min(first + CHUNK, FIRST + COUNT)))


def test_the_same_seed_tells_the_same_story():
    one, other = simulate_fleet(6), simulate_fleet(6)
    assert (one.log, one.frames, one.runs) == (other.log, other.frames, other.runs)
    assert one.frames > 20


class Trusting(FleetWorker):
    """Nobody looks at the numbers of messages."""

    def make_relay(self):
        class Blind(Relay):
            def _miss(self, following):
                """Nothing is ever missed."""

        return self.relay_of(Blind)


class Unrepeated(FleetWorker):
    """Nobody repeats the newest number."""

    def make_relay(self):
        class Silent(Relay):
            def _remind(self):
                """Once is enough."""

        return self.relay_of(Silent)


class AsItComes(FleetWorker):
    """Events are told as they come, whatever lies before them."""

    def make_relay(self):
        class Hasty(Relay):
            def _take(self, told):
                self._rooms.emit_here(told)

        return self.relay_of(Hasty)


class TwiceIsBetter(FleetWorker):
    """What comes a second time is told a second time."""

    def make_relay(self):
        class Doubling(Relay):
            def _receive(self, message, now):
                body = getattr(message, "body", None)
                following = self._followed.get(message.topic[1:-1]) if body is not None else None
                if following is None:
                    super()._receive(message, now)
                elif following.number(message.sender, message.number, now, reminder=False) is Heard.AGAIN:
                    told = self._decode(body) if isinstance(body, bytes) else None
                    if told is not None:
                        self._rooms.emit_here(told)
                else:
                    self._hear(following, body)

        return self.relay_of(Doubling)


class RowsOnly(FleetWorker):
    """What the log has is not read where messages are missing."""

    def make_relay(self):
        class Textless(Relay):
            async def _texts(self, order, changes):
                return {}, True

        return self.relay_of(Textless)


class StatusFirst(FleetWorker):
    """`task:status` waits for nothing."""

    def make_relay(self):
        class Impatient(Relay):
            def _waits(self, told, behind):
                return False

        return self.relay_of(Impatient)


class MembersTooEarly(FleetWorker):
    """Who joins does not wait for what others have told."""

    def make_relay(self):
        class Open(Relay):
            async def reach(self, room, revision):
                """It will come."""

        return self.relay_of(Open)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Trusting, "holds of row|gap|early_ending|told last"),
        (Unrepeated, "holds of row|told last"),
        (AsItComes, "early_status|before_start|after_ending|old_attempt"),
        (TwiceIsBetter, "after_ending|repeat|old_attempt|misorder|second"),
        (RowsOnly, "gap|holds of row|early_ending"),
        (StatusFirst, "early_status"),
        (MembersTooEarly, "gap|holds of row|early_ending|before_start|repeat|after_ending|early_status"),
    ],
)
def test_a_broken_deployment_is_found_out(broken, words):
    for seed in range(300):
        story = simulate_fleet(seed, SHORT, worker=broken)
        if any(word in complaint for complaint in story.complaints for word in words.split("|")):
            return
    pytest.fail("nobody noticed")


def test_an_honest_deployment_is_not_suspected():
    for seed in range(60):
        story = simulate_fleet(seed, LOSSY)
        assert not story.complaints, story


def test_what_waits_is_bounded():
    """Events that wait for one that never comes are dropped past a limit, and found in the rows."""

    class Streams:
        def mute(self, stream):
            raise AssertionError

    class Rooms:
        def has_members(self, namespace, name):
            return False

    order = Order(Streams(), Rooms())
    for revision in range(MOST_HELD + 50):
        order.take(Told("/chat", "task:1", "chat:message", {}, revision=revision + 10))
    assert order.stuck
    assert sum(map(len, order._held.values())) == MOST_HELD
