"""Random lives by their seeds, on all processors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

Simulate = Callable[[int], Any]
"""Tells a seed's story, which has `complaints`; a function of a module, for other processes have to find it."""


class Processors:
    """Processes that simulate."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def check(self, simulate: Simulate, seeds: Iterable[int]) -> None:
        """Fail at the first seed, in their order, whose story has complaints, and show that story."""
        for told in self._pool.map(partial(_wrong, simulate), seeds):
            assert not told, told


@contextmanager
def processors() -> Iterator[Processors]:
    """One process for each processor, new ones: what runs here is not forked."""
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_be_quiet) as pool:
        yield Processors(pool)


def _be_quiet() -> None:
    """Failing engines and crashes are what is simulated; a warning is an error, as in tests."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")


def _wrong(simulate: Simulate, seed: int) -> str:
    story = simulate(seed)
    return str(story) if story.complaints else ""
