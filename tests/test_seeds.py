"""The seeds that other processes try fail as if they had been tried here."""

from __future__ import annotations

import pytest
from attrs import frozen

from tests.seeds import processors


@frozen
class Story:
    seed: int

    @property
    def complaints(self) -> list[str]:
        return ["it is wrong"] if self.seed in (7, 9) else []


def simulate(seed: int) -> Story:
    if seed == 20:
        raise ValueError("no such life")
    return Story(seed)


def test_the_first_seed_whose_story_is_wrong_is_shown() -> None:
    with processors() as found:
        found.check(simulate, range(7))
        with pytest.raises(AssertionError, match="seed=7"):
            found.check(simulate, range(3, 15))
        with pytest.raises(ValueError, match="no such life"):
            found.check(simulate, [20])
