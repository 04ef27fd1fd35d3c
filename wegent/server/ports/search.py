"""Where the web is searched."""

from __future__ import annotations

from abc import ABC, abstractmethod

from attrs import frozen


@frozen
class Found:
    """One result: `text` is what the engine shows of the page."""

    title: str
    url: str
    text: str


class Search(ABC):
    """Searches the web; one instance serves many searches side by side.

    Raises (from `find`):
        ToolFailed: the search can't be had, or took too long.
    """

    __slots__ = ()

    @abstractmethod
    async def find(self, query: str, limit: int) -> list[Found]:
        """The best results, at most `limit`; none is no error."""
