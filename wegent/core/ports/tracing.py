"""Where spans go. Without a tracer nothing is traced, and nothing is paid for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager

Attribute = str | int | float | bool


class Span(ABC):
    """A stretch of work under way."""

    __slots__ = ()

    @abstractmethod
    def set(self, name: str, value: Attribute) -> None:
        """Set an attribute."""


class Tracer(ABC):
    """Makes spans. Callers hold none where tracing is off.

    The span that is under way is the context's: tasks that are started within it, and threads that run in a copy of
    that context, are within it. What is under way may be told to others as a `traceparent` (W3C Trace Context).
    Attributes hold no text of people or models, and no token; of an exception only the class is kept.
    """

    __slots__ = ()

    @abstractmethod
    def span(
        self, name: str, attributes: Mapping[str, Attribute], *, parent: str | None = None
    ) -> AbstractContextManager[Span]:
        """A span that lasts as long as the block, below the one under way, or below `parent`, a traceparent.

        A `parent` that is none is as if there were none. Attributes are set as they are; may be used in any thread.
        """

    @abstractmethod
    def traceparent(self) -> str | None:
        """The span under way, for others to go on from; None if there is none."""
