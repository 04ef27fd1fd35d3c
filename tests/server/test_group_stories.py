"""Random lives of a group chat end with everybody seeing the same; a server that breaks a rule is found out.

More of them: WEGENT_GROUPS=5000 WEGENT_SEED=1000000 pytest tests/server/test_group_stories.py
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.group_stories import tell
from wegent.server.editing import Editing
from wegent.server.status import TaskView
from wegent.server.updates import Updates
from wegent.testing.simulator import SimulatedApplication

COUNT = int(os.environ.get("WEGENT_GROUPS", "60"))
FIRST = int(os.environ.get("WEGENT_SEED", "0"))
CHUNK = 20


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failing engines are a part of the stories."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_three_people_with_two_tabs_each_end_with_the_same_view(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + COUNT)):
        story = tell(seed)
        assert not story.complaints, story


class NobodyEvicted(SimulatedApplication):
    """Who was removed stays in the room."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.evictions.evict = lambda task_id, user_id: None  # type: ignore[method-assign]


class SilentRemovals(SimulatedApplication):
    """Nobody is told that rows are gone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.editing = Editing(self.store, self.sending, MuteUpdates(self.rooms))


class MuteUpdates(Updates):
    def rows_removed(self, view: TaskView) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (NobodyEvicted, "not_joined"),
        (SilentRemovals, "there are"),
    ],
)
def test_a_server_that_breaks_a_rule_is_found_out(broken: type[SimulatedApplication], words: str) -> None:
    stories = (tell(seed, application=broken) for seed in range(400))
    assert any(words in complaint for story in stories for complaint in story.complaints)
