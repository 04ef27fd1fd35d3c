"""What writers believe of a row that they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")

Condition = Callable[[R], None]
"""Raises where a row is not as the writer believes. Asked in the unit that writes, of a row that nobody else who asks
can change until that unit ends: so of two who believe the same one is refused."""


def anything(row: object) -> None:
    """The condition of those who take the row as it is."""
