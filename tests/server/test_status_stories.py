"""However socket, REST, hosts and devices change tasks at once, everybody has heard last how each of them stands.

More of them: WEGENT_STATUSES=5000 WEGENT_SEED=1000000 pytest tests/server/test_status_stories.py
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from tests.server.status_stories import Everywhere, tell
from wegent.core.ports.runbook import Finished
from wegent.core.replica import Replica
from wegent.core.rooms import Rooms
from wegent.core.told import Told
from wegent.server.status import TaskView
from wegent.server.telling import Teller

COUNT = int(os.environ.get("WEGENT_STATUSES", "200"))
FIRST = int(os.environ.get("WEGENT_SEED", "0"))
CHUNK = 50


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failing engines are a part of the stories."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_the_last_status_that_each_user_heard_is_the_rows(first: int) -> None:
    runs, statuses = 0, Counter[str]()
    for seed in range(first, min(first + CHUNK, FIRST + COUNT)):
        story = tell(seed)
        assert not story.complaints, story
        runs += story.runs
        statuses.update(story.statuses)
    assert runs > 5 * CHUNK, "hardly anything was run"
    assert set(statuses) == {"COMPLETED", "FAILED", "CANCELLED"}


class Careless(Rooms):
    def emit_here(self, told: Told) -> None:
        super().emit_here(evolve(told, after=None))


class AnyOrder(Everywhere):
    """How a task stood is told after how it stands."""

    def make_rooms(self) -> Rooms:
        return Careless(self.registry)


class Silent(Teller):
    def ended(self, finished: Finished, replica: Replica) -> None:
        super().ended(evolve(finished, task=TaskView(finished.task.task, ())), replica)


class EndsUntold(Everywhere):
    """Of the end of a run its viewers hear, but nobody's list of tasks."""

    def make_teller(self) -> Teller:
        return Silent(self.rooms)


class OwnersOnly(Teller):
    def status(self, view: TaskView) -> None:
        super().status(evolve(view, audience=view.audience[:1]))


class MembersUntold(Everywhere):
    """Members hear of no status."""

    def make_teller(self) -> Teller:
        return OwnersOnly(self.rooms)


@pytest.mark.parametrize("broken", [AnyOrder, EndsUntold, MembersUntold])
def test_a_server_that_breaks_a_rule_is_found_out(broken: type[Everywhere]) -> None:
    stories = (tell(seed, application=broken) for seed in range(400))
    found: Any = (complaint for story in stories for complaint in story.complaints)
    assert any("heard last" in complaint for complaint in found)
