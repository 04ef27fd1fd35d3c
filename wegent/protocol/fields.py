"""What the payload classes are built with: checks of their fields, variants, and how absence is written.

A check says in words what it wants, so that who refuses a payload can tell the client what would be right.
Checks let None pass: whether a field may be None is told by its type.
"""

import math
import re
from typing import Any, Self

from attrs import frozen

from wegent.protocol.limits import MAX_DEPTH, MAX_ID, MAX_LIST

_INT64 = 2**63
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FieldError(ValueError):
    """A field holds what its check refuses.

    Attributes:
        field: name of the field.
        wants: what would be right, to follow the word "expected".
        got: what was there, to follow the word "got"; never the client's text.
    """

    def __init__(self, field: str, wants: str, got: str) -> None:
        super().__init__(f"`{field}`: expected {wants}, got {got}")
        self.field = field
        self.wants = wants
        self.got = got


class Check:
    """A validator for attrs that knows what it wants."""

    __slots__ = ("wants",)

    def __init__(self, wants: str) -> None:
        self.wants = wants

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None if nothing is."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """Return what JSON Schema can say of it, beside the type."""
        return {}

    def __call__(self, _instance: Any, attribute: Any, value: Any) -> None:
        if value is not None and (got := self.fault(value)) is not None:
            raise FieldError(attribute.name, self.wants, got)


class Whole(Check):
    """An integer within bounds; a boolean is none."""

    __slots__ = ("_least", "_most")

    def __init__(self, least: int, most: int) -> None:
        super().__init__(f"an integer from {least} to {most}")
        self._least, self._most = least, most

    def fault(self, value: Any) -> str | None:
        if type(value) is not int:
            return json_type(value)
        if self._least <= value <= self._most:
            return None
        return str(value) if -_INT64 <= value < _INT64 else "a number with too many digits"

    def schema(self) -> dict[str, Any]:
        """Bounds."""
        return {"minimum": self._least, "maximum": self._most}


class Text(Check):
    """Valid Unicode without U+0000, its length in code points within bounds (None: any length)."""

    __slots__ = ("_least", "_most")

    def __init__(self, least: int = 0, most: int | None = None) -> None:
        if most is not None:
            wants = f"text of {least} to {most} characters" if least else f"text of at most {most} characters"
        else:
            wants = "text that is not empty" if least else "text"
        super().__init__(f"{wants}, valid Unicode without U+0000")
        self._least, self._most = least, most

    def fault(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return json_type(value)
        if len(value) < self._least or (self._most is not None and len(value) > self._most):
            return f"{len(value)} characters" if value else "an empty text"
        return text_fault(value)

    def schema(self) -> dict[str, Any]:
        """Lengths in code points."""
        most = {} if self._most is None else {"maxLength": self._most}
        return ({"minLength": self._least} if self._least else {}) | most


class ToolName(Check):
    """The name of a tool, as every model's server takes it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("a name of 1 to 64 letters of ASCII, digits, hyphens and underscores")

    def fault(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return json_type(value)
        return None if _TOOL_NAME.fullmatch(value) else "another text"

    def schema(self) -> dict[str, Any]:
        """The pattern."""
        return {"pattern": f"^{_TOOL_NAME.pattern}$"}


class Each(Check):
    """A list, not too long, each item of which passes another check."""

    __slots__ = ("_check", "_most")

    def __init__(self, check: Check, most: int = MAX_LIST) -> None:
        super().__init__(f"at most {most} items, each {check.wants}")
        self._check, self._most = check, most

    def fault(self, value: Any) -> str | None:
        if len(value) > self._most:
            return f"{len(value)} items"
        return next((got for item in value if (got := self._check.fault(item)) is not None), None)

    def schema(self) -> dict[str, Any]:
        """Length, and what each item is to pass."""
        return {"maxItems": self._most, "items": self._check.schema()}


class AtMost(Check):
    """A list of a length that is not too great, nor too small; the type of its items is checked elsewhere."""

    __slots__ = ("_least", "_most")

    def __init__(self, most: int = MAX_LIST, least: int = 0) -> None:
        super().__init__(f"{least} to {most} items" if least else f"at most {most} items")
        self._least, self._most = least, most

    def fault(self, value: Any) -> str | None:
        return None if self._least <= len(value) <= self._most else f"{len(value)} items"

    def schema(self) -> dict[str, Any]:
        """Length."""
        return {"maxItems": self._most} | ({"minItems": self._least} if self._least else {})


class AnyJson(Check):
    """Any JSON that is not too deep, with valid text and finite numbers of at most 64 bits."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(
            f"JSON of at most {MAX_DEPTH} levels, in valid Unicode without U+0000, its numbers within 64 bits"
        )

    def fault(self, value: Any) -> str | None:
        return json_fault(value)


class Aware(Check):
    """A time that knows its zone."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("an ISO 8601 time with its zone, such as 2026-02-01T12:00:00Z")

    def fault(self, value: Any) -> str | None:
        return "a time without a zone" if value.tzinfo is None else None


ID = Whole(1, MAX_ID)
COUNT = Whole(0, MAX_ID)
PERCENT = Whole(0, 100)
TEXT = Text()
FILLED = Text(1)
NAME = Text(1, 255)
TOOL_NAME = ToolName()
SHORT = Text(0, 255)
JSON = AnyJson()
TIME = Aware()
IDS = Each(ID)
SOME = AtMost()


def text_fault(text: str) -> str | None:
    """Return what keeps `text` from being valid text in a client payload, or None."""
    if "\x00" in text:
        return "text with U+0000 in it"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "text with half of a surrogate pair in it"
    return None


def json_fault(value: Any) -> str | None:
    """Return what keeps `value` from being passed on as any JSON, or None. Takes no recursion."""
    layer: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list | tuple):
                below += item
            elif (fault := _scalar_fault(item)) is not None:
                return fault
        if not below:
            return None
        layer = below
    return "deeper nesting"


def _scalar_fault(item: Any) -> str | None:
    if isinstance(item, str):
        return text_fault(item)
    if isinstance(item, float) and not math.isfinite(item):
        return "a number that is not finite"
    if isinstance(item, int) and not -_INT64 <= item < _INT64:
        return "a number with too many digits"
    return None


def json_type(value: Any) -> str:
    """Return what JSON calls a value, with its article, for use in a sentence."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
        case _:
            return f"a Python {type(value).__name__}"


class Variant:
    """Base of classes that share a place in a payload; the object itself says which it is.

    Such a base is no attrs class: its subclasses are, and `read` chooses among them.
    """

    __slots__ = ()

    @classmethod
    def read(cls, value: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Return the class that `value` is of, and the object to make it from.

        Raises:
            FieldError: `value` is of no known class.
        """
        raise NotImplementedError


def by_type(value: dict[str, Any], known: "dict[str, type[Any]]") -> type[Any]:
    """Return the class that the field `type` of `value` names.

    Raises:
        FieldError: there is no such field, or it names none of the known.
    """
    tag = value.get("type")
    found = known.get(tag) if isinstance(tag, str) else None
    if found is None:
        got = "another word" if isinstance(tag, str) else "nothing" if tag is None else json_type(tag)
        raise FieldError("type", "one of " + ", ".join(known), got)
    return found


@frozen
class Nothing:
    """An empty payload."""
