"""Finds the highest step of a ladder that a server manages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SATURATED = 0.85  # share of its core that a server has used when its failure is its own


def highest(ladder: Sequence[float], passes: Callable[[float], bool], guess: float) -> float:
    """Return the highest step that passes, 0 if none does. Every step below one that passes is taken to pass.

    Begins at the step nearest to the guess, walks up or down in growing strides until it has a step that passes below
    one that does not, then halves.
    """
    low, high = -1, len(ladder)
    at, stride = min(range(len(ladder)), key=lambda i: abs(ladder[i] - guess)), 1
    while high - low > 1:
        if passes(ladder[at]):
            low = at
            at = at + stride if high == len(ladder) else (low + high) // 2
        else:
            high = at
            at = at - stride if low == -1 else (low + high) // 2
        stride *= 2
        at = min(max(at, low + 1), high - 1)
    return ladder[low] if low >= 0 else 0.0


def tried(probe: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Probe; once more if it failed although the server's core was not full: then something else was in the way."""
    figures = dict(probe())
    if figures["passes"] or figures["cpu_share"] > SATURATED:
        return figures
    return {**probe(), "again": True}
