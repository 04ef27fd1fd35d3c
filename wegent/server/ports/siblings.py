"""The other workers of this host."""

from __future__ import annotations

from abc import ABC, abstractmethod

from attrs import frozen


@frozen
class Answer:
    """What a worker said."""

    worker: str
    status: int
    body: bytes


class Siblings(ABC):
    """Asks the other workers that serve the same port."""

    __slots__ = ()

    @abstractmethod
    async def ask(self, path: str) -> list[Answer]:
        """What each of them answers to `GET path`, without asking others in its turn. Those that do not answer soon are
        left out.
        """
