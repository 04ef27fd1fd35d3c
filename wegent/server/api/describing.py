"""What a call takes and answers, said beside its route; the OpenAPI document is made of that.

    @blueprint.post("")
    @describes("Make an execution", takes=ExecutionRequest, answers={201: ExecutionItem})
    async def make() -> TrioResponse:

Bodies and answers are attrs classes, `Items` of one for a page of a list, or `Media` for what is no JSON; query
parameters are `Query`. Path parameters, who may call, and errors need not be said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from attrs import field, frozen

from wegent.protocol.limits import MAX_ID
from wegent.protocol.tasks import Success

View = TypeVar("View", bound=Callable[..., Any])
Schema = dict[str, Any]


@frozen
class Items:
    """A page: `{items, next_cursor?}`."""

    of: type[Any]


@frozen
class Media:
    """What is no JSON of ours: its media type, and a schema of it."""

    type: str
    schema: Mapping[str, Any] = field(factory=dict)


@frozen
class Free:
    """JSON that is not typed here, with the reason; see `FREE` in `schemas.py`."""

    reason: str


@frozen
class Query:
    """A parameter of the query string, or a header with `place="header"`."""

    name: str
    schema: Mapping[str, Any]
    about: str = ""
    place: str = "query"


Answer = type[Any] | Items | Media | Free


@frozen
class Operation:
    """One call. `takes` may be several media."""

    summary: str
    takes: tuple[Answer, ...] = ()
    answers: Mapping[int, tuple[Answer, ...]] = field(factory=dict)
    query: tuple[Query, ...] = ()


def describes(
    summary: str,
    *,
    takes: Answer | tuple[Answer, ...] = (),
    answers: Answer | Mapping[int, Answer | tuple[Answer, ...]] = Success,
    query: tuple[Query, ...] = (),
) -> Callable[[View], View]:
    """Say of a view what it does; `answers` are by status, a single one is 200."""
    by_status = answers if isinstance(answers, Mapping) else {200: answers}
    operation = Operation(
        summary, _tuple(takes), {status: _tuple(answer) for status, answer in by_status.items()}, query
    )

    def mark(view: View) -> View:
        view.operation = operation  # type: ignore[attr-defined]
        return view

    return mark


def operation_of(view: Any) -> Operation | None:
    """What was said of a view."""
    found: Operation | None = getattr(view, "operation", None)
    return found


def whole(name: str, about: str = "", *, least: int = 1, most: int = MAX_ID) -> Query:
    """A whole number."""
    return Query(name, {"type": "integer", "minimum": least, "maximum": most}, about)


def text(name: str, about: str = "", *, most: int = 1_000) -> Query:
    """A text."""
    return Query(name, {"type": "string", "maxLength": most}, about)


def word(name: str, words: type[StrEnum], about: str = "") -> Query:
    """One of an enum's words."""
    return Query(name, {"type": "string", "enum": [str(each) for each in words]}, about)


def flag(name: str, about: str = "") -> Query:
    """True or false."""
    return Query(name, {"type": "string", "enum": ["true", "false", "1", "0"]}, about)


def paged(most: int) -> tuple[Query, ...]:
    """`limit` and `cursor`."""
    return whole("limit", most=most), text("cursor", "the next_cursor of an earlier answer")


IF_MATCH = Query("If-Match", {"type": "string"}, "only if it is this version", "header")
IF_NONE_MATCH = Query("If-None-Match", {"type": "string"}, "only if it is not this version; * : not there", "header")


def _tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)
