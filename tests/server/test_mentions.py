"""A team is mentioned by `@` and one of its names (protocol: mention)."""

from __future__ import annotations

import pytest
from attrs import evolve

from wegent.core.clock import VirtualClock
from wegent.server.ports.store import Unit
from wegent.server.teams import TeamSetup, add_defaults, setup_of
from wegent.storage.memory import MemoryStore


@pytest.fixture
async def setup() -> TeamSetup:
    def work(unit: Unit) -> TeamSetup:
        add_defaults(unit)
        team = unit.kind_named("Team", "default", "assistant", user_id=None)
        assert team is not None
        return setup_of(unit, team)

    return evolve(await MemoryStore(VirtualClock()).write(work), names=("re-view", "Große Prüfung (C++)"))


@pytest.mark.parametrize(
    "message",
    [
        "@re-view",
        "@RE-View, please",
        "hey @re-view!",
        "(@re-view)",
        "a\n@re-view\nb",
        "😀@re-view",
        "@@re-view",
        "@re-view.",
        "@GROSSE PRÜFUNG (C++) now",
        "@große prüfung (c++)?",
        "@nobody and @re-view",
        "me@re-view @re-view",
    ],
)
async def test_a_mention_may_stand_anywhere_in_any_case(setup: TeamSetup, message: str) -> None:
    assert setup.mentioned_in(message)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "re-view",
        "@ re-view",
        "me@re-view",
        "é@re-view",
        "_@re-view",
        "@re-views",
        "@re-view-2",
        "@re-view_",
        "@re-viewé",
        "@re",
        "@große prüfung (c+)",
    ],
)
async def test_what_is_a_part_of_a_word_is_no_mention(setup: TeamSetup, message: str) -> None:
    assert not setup.mentioned_in(message)
