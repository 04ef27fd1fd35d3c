"""From payload objects to what a JSON encoder takes: absent fields are left out.

The rule is in the classes: a field whose default is None is written only when it holds something (`x?` in the
protocol); a field without a default is always written, as null if need be (`x: int|null`).
"""

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from operator import attrgetter
from types import NoneType
from typing import Any, get_args

from attrs import Attribute, fields, has

from wegent.protocol.fields import JSON

Shape = Callable[[Any], Any]
_SCALARS = (int, float, str, datetime, Enum, NoneType)
_EXACT = frozenset({int, float, str, bool, NoneType})


def to_wire(value: Any) -> Any:
    """Return `value` with every payload object in it made a dict, absent fields left out.

    Dicts, lists and tuples are walked; fields checked to hold any JSON are taken as they are. A class may say
    by a method `to_wire()` how it is written; what that returns is final.
    """
    return _SHAPES[type(value)](value)


def _as_it_is(value: Any) -> Any:
    return value


def _items(value: list[Any] | tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    if _EXACT.issuperset(map(type, value)):
        return value
    return [_SHAPES[type(item)](item) for item in value]


def _members(value: dict[Any, Any]) -> dict[Any, Any]:
    if _EXACT.issuperset(map(type, value.values())):
        return value
    return {key: _SHAPES[type(item)](item) for key, item in value.items()}


class _Shapes(dict[type[Any], Shape]):
    """How the objects of each class are written; found once a class."""

    __slots__ = ()

    def __missing__(self, cls: type[Any]) -> Shape:
        self[cls] = shape = self._find(cls)
        return shape

    @staticmethod
    def _find(kind: type[Any]) -> Shape:
        own: Shape | None = getattr(kind, "to_wire", None)
        if own is not None:
            return own
        if has(kind):
            return _object(kind)
        if issubclass(kind, dict):
            return _members
        return _items if issubclass(kind, list | tuple) else _as_it_is


_SHAPES = _Shapes()


def _object(cls: type[Any]) -> Shape:
    always = [field for field in fields(cls) if field.default is not None]
    plain = tuple(field.name for field in always if _is_plain(field))
    nested = tuple(field.name for field in always if not _is_plain(field))
    maybe = tuple(field.name for field in fields(cls) if field.default is None)
    read = _reader(plain)

    def shape(value: Any) -> dict[str, Any]:
        made = dict(zip(plain, read(value), strict=True))
        for name in nested:
            made[name] = to_wire(getattr(value, name))
        for name in maybe:
            if (item := getattr(value, name)) is not None:
                made[name] = to_wire(item)
        return made

    return shape


def _is_plain(field: "Attribute[Any]") -> bool:
    """Whether nothing in the field can be a payload object."""
    members = get_args(field.type) or (field.type,)
    return field.validator is JSON or all(isinstance(m, type) and issubclass(m, _SCALARS) for m in members)


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda value: (get(value),)
