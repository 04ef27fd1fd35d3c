"""Parameters of a query string, and cursors: checked, or refused with a sentence."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from typing import Any, TypeVar

from quart import request

from wegent.codec import CodecError, decode_as, encode
from wegent.core.errors import InvalidPayload
from wegent.protocol.fields import text_fault
from wegent.protocol.limits import MAX_ID

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
MAX_TEXT = 1_000
"""Code points of a text parameter."""


def text(name: str, *, most: int = MAX_TEXT) -> str | None:
    """A text; None where it was not given, or is empty.

    Raises (all of these): InvalidPayload.
    """
    values = request.args.getlist(name)
    if len(values) > 1:
        raise _refused(name, "to be given once", f"it {len(values)} times")
    if not values or not values[0]:
        return None
    if len(values[0]) > most:
        raise _refused(name, f"at most {most} characters", f"{len(values[0])}")
    if fault := text_fault(values[0]):
        raise _refused(name, "valid Unicode without U+0000", fault)
    return values[0]


def _given(name: str) -> str | None:
    """A text that must not be empty where it was given."""
    if request.args.getlist(name) == [""]:
        raise _refused(name, "a value, or not to be given", "an empty text")
    return text(name)


def number(name: str, default: int, *, least: int = 1, most: int = MAX_ID) -> int:
    """A whole number."""
    return default if (found := maybe_number(name, least=least, most=most)) is None else found


def maybe_number(name: str, *, least: int = 0, most: int = MAX_ID) -> int | None:
    """A whole number; None where it was not given."""
    given = _given(name)
    if given is None:
        return None
    if not re.fullmatch("-?[0-9]{1,16}", given) or not least <= int(given) <= most:
        raise _refused(name, f"an integer from {least} to {most}", "something else")
    return int(given)


def word(name: str, words: type[E]) -> E | None:
    """One of an enum's words; None where it was not given."""
    given = _given(name)
    if given is None:
        return None
    try:
        return words(given)
    except ValueError:
        raise _refused(name, "one of " + ", ".join(words), "something else") from None


def flag(name: str) -> bool:
    """True or false, false where it was not given."""
    given = _given(name)
    if given not in (None, "true", "false", "1", "0"):
        raise _refused(name, "true or false", "something else")
    return given in ("true", "1")


def cursor(kind: type[T]) -> T | None:
    """What a `next_cursor` was made of, a tuple of the type `kind`; None where none was given."""
    given = text("cursor")
    if given is None:
        return None
    try:
        return decode_as(urlsafe_b64decode(given.encode() + b"=" * (-len(given) % 4)), kind)
    except (CodecError, ValueError) as error:
        raise bad_cursor() from error


def next_cursor(*parts: Any) -> str:
    """A cursor made of `parts`; clients need not understand it."""
    return urlsafe_b64encode(encode(list(parts))).rstrip(b"=").decode()


def bad_cursor() -> InvalidPayload:
    """The error for a cursor that is not ours."""
    return _refused("cursor", "the next_cursor of an earlier answer", "something else")


def _refused(name: str, wants: str, got: str) -> InvalidPayload:
    return InvalidPayload(f"`{name}`: expected {wants}, got {got}")
