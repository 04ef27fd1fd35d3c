"""The one place that encodes and decodes JSON.

Decoding has two steps. `decode` reads the syntax; `convert` makes a typed payload of what was read. Whatever
is wrong becomes one `CodecError` whose sentence may be shown to the client.
"""

import json
import math
import re
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec

from wegent.protocol.fields import Check, FieldError, Variant, json_type
from wegent.protocol.shape import to_wire

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode

_EXPECTED = re.compile(r"Expected `(?P<wants>[^`]*)`(?:, got `(?P<got>[^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")
_PATH = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>[^\]]*)\]")
_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
    "datetime": "an ISO 8601 time",
}
_HALF_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class CodecError(ValueError):
    """Bytes that are no JSON, or JSON that is not what was asked for; to be told as INVALID_PAYLOAD.

    Attributes:
        sentence: what was wrong and what would be right; holds none of the client's text.
        path: the field, such as `events[2].progress`; empty if it is not one field.
    """

    def __init__(self, sentence: str, path: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path = path


def encode(value: Any) -> bytes:
    """Return `value` as JSON: payload objects, and what is made of dicts, lists and scalars.

    Absent fields are left out (`wegent.protocol.shape`); numbers that are not finite become null.

    Raises:
        CodecError: half of a surrogate pair, nesting too deep, or an object that JSON knows nothing of.
    """
    try:
        return _encode(to_wire(value))
    except UnicodeEncodeError:
        raise CodecError("expected valid Unicode, got half of a surrogate pair") from None
    except RecursionError:
        raise CodecError("expected JSON of moderate depth, got deeper nesting") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"this cannot be written as JSON: {error}") from None


def encode_plain(value: Any) -> bytes:
    """Return dicts, lists, strings, numbers and times as JSON, as `encode` does, without a look for anything else.

    Raises:
        CodecError: as `encode`.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        raise CodecError("expected valid Unicode, got half of a surrogate pair") from None


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for objects that hold the same, in whatever order; raises as `encode_plain`."""
    try:
        return _encode_sorted(value)
    except UnicodeEncodeError:
        raise CodecError("expected valid Unicode, got half of a surrogate pair") from None


def decode(data: bytes | bytearray | memoryview | str) -> Any:
    """Return what a JSON text says, as dicts, lists and scalars.

    Raises:
        CodecError: no JSON, no UTF-8, too deep, a number out of range, or half of a surrogate pair.
    """
    try:
        return _decode(data)
    except UnicodeError:
        raise CodecError("expected valid UTF-8, got other bytes") from None
    except RecursionError:
        raise CodecError("expected JSON of moderate depth, got deeper nesting") from None
    except msgspec.ValidationError:
        raise CodecError("expected numbers that fit 64 bits, got one out of range") from None
    except msgspec.DecodeError as error:
        wants = "JSON without halves of surrogate pairs" if _has_half_escape(data) else "JSON"
        raise CodecError(f"expected {wants}, got something else ({_plain(str(error))})") from None
    except ValueError:
        raise CodecError("expected numbers that fit 64 bits, got one with too many digits") from None


def decode_loose(data: bytes | bytearray | memoryview | str) -> Any:
    """Return what a JSON text of a runner, a device or a model says, halves of surrogate pairs included.

    Where such text goes on it has to pass `core.text.clean` or a `SurrogateJoiner`.

    Raises:
        CodecError: as `decode`, but not for halves of surrogate pairs.
    """
    try:
        return decode(data)
    except CodecError:
        if not _has_half_escape(data):
            raise
    return _decode_slowly(data if isinstance(data, str) else bytes(data))


def _has_half_escape(data: bytes | bytearray | memoryview | str) -> bool:
    return bool(_HALF_ESCAPE.search(data.encode(errors="replace") if isinstance(data, str) else data))


def _decode_slowly(data: bytes | str) -> Any:
    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except UnicodeError:
        raise CodecError("expected valid UTF-8, got other bytes") from None
    except RecursionError:
        raise CodecError("expected JSON of moderate depth, got deeper nesting") from None
    except json.JSONDecodeError as error:
        raise CodecError(f"expected JSON, got something else ({error.msg}, character {error.pos})") from None
    except ValueError:
        raise CodecError("expected numbers that fit 64 bits, got one out of range") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def decode_as(data: bytes | str, kind: type[T]) -> T:
    """Return what a JSON text says as an object of `kind`.

    Raises:
        CodecError: as `decode` and `convert`.
    """
    return convert(decode(data), kind)


def convert(value: Any, kind: type[T]) -> T:
    """Return decoded JSON as an object of `kind`: a payload class, a variant's base, or what msgspec knows.

    Unknown fields are ignored; null in a field with a default counts as absent.

    Raises:
        CodecError: something is missing, of a wrong type, or out of bounds.
    """
    try:
        return _convert(value, kind)
    except CodecError:
        return _convert(without_nulls(value, kind), kind)


def unknown_fields(value: Any, kind: Any, path: str = "") -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield path, name and known names of each field of `value` that `kind` does not know, payload classes deep."""
    if isinstance(value, dict) and (owner := _payload_class(kind)) is not None:
        hints = _hints(owner)
        for key, item in value.items():
            if key in hints:
                yield from unknown_fields(item, hints[key], _join(path, key))
            else:
                yield path, key, frozenset(hints)
    elif isinstance(value, list) and (inner := _inner(kind)) is not Any:
        for index, item in enumerate(value):
            yield from unknown_fields(item, inner, f"{path}[{index}]")


def _convert(value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind, dec_hook=_variant)
    except msgspec.ValidationError as error:
        raise _explain(error, kind) from None
    except RecursionError:
        raise CodecError("expected JSON of moderate depth, got deeper nesting") from None


def _variant(base: type[Any], value: Any) -> Any:
    if not issubclass(base, Variant):
        raise TypeError(f"no way to read a {base.__name__} is known")
    if not isinstance(value, dict):
        raise FieldError("", "an object", json_type(value))
    kind, fields = base.read(value)
    return convert(fields, kind)


def _explain(error: msgspec.ValidationError, kind: Any) -> CodecError:
    """Make of msgspec's message a sentence that names the field and what it wants."""
    said = str(error)
    at = _PATH.search(said)
    path = _dotted(at["path"]) if at else ""
    match error.__cause__:
        case FieldError(field=field, wants=wants, got=got):
            return _refused(_join(path, field), wants, got)
        case CodecError(path=inner, sentence=sentence):
            return _refused_inside(path, inner, sentence)
    if missing := _MISSING.match(said):
        path = _join(path, missing["field"])
        return _refused(path, _wants(kind, path) or "a value", "nothing")
    expected = _EXPECTED.match(said)
    wants = _wants(kind, path) or (_in_words(expected["wants"]) if expected else "another value")
    return _refused(path, wants, _in_words(expected["got"]) if expected and expected["got"] else "another value")


def _refused(path: str, wants: str, got: str) -> CodecError:
    return CodecError(f"{f'`{path}`: ' if path else ''}expected {wants}, got {got}", path)


def _refused_inside(path: str, inner: str, sentence: str) -> CodecError:
    whole = _join(path, inner)
    return CodecError(f"`{whole}`: {sentence.removeprefix(f'`{inner}`: ')}", whole)


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path and field and not field.startswith("[") else path + field


def _dotted(path: str) -> str:
    return path.removeprefix(".").replace("[...]", "[]")


def _plain(said: str) -> str:
    return said.removeprefix("JSON is malformed: ").replace("`", "'")


def _in_words(names: str) -> str:
    return " or ".join(_WORDS.get(name, name) for name in names.split(" | ") if name != "null" or names == "null")


def _wants(kind: Any, path: str) -> str | None:
    """Return what the field at `path` wants, by its check or the words of its enum; None if neither knows."""
    found: str | None = None
    for name in (step["name"] for step in _STEP.finditer("." + path)):
        if name is None:
            kind, found = _inner(kind), None
            continue
        owner = _payload_class(kind)
        if owner is None or name not in (hints := _hints(owner)):
            return None
        kind = hints[name]
        check = getattr(attrs.fields(owner), name).validator
        found = check.wants if isinstance(check, Check) else None
    return found or _one_of(kind)


def _one_of(kind: Any) -> str | None:
    for member in _members(kind):
        if isinstance(member, type) and issubclass(member, StrEnum):
            return "one of " + ", ".join(member)
        literals = get_args(member)
        if literals and all(isinstance(each, str) for each in literals):
            return "one of " + ", ".join(literals)
    return None


def _members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in (Union, UnionType):
        yield from (member for member in get_args(kind) if member is not NoneType)
    else:
        yield kind


def _payload_class(kind: Any) -> Any:
    return next((member for member in _members(kind) if isinstance(member, type) and attrs.has(member)), None)


def _inner(kind: Any) -> Any:
    """Return the type of a list's items, Any if `kind` is no list."""
    for member in _members(kind):
        if get_origin(member) in (tuple, list):
            return get_args(member)[0]
    return Any


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _defaulted(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in attrs.fields(kind) if field.default is not attrs.NOTHING)


def without_nulls(value: Any, kind: Any) -> Any:
    """Return `value` without the nulls of fields of `kind` that have a default; any other JSON stays as it is."""
    if isinstance(value, dict) and (owner := _payload_class(kind)) is not None:
        hints, defaulted = _hints(owner), _defaulted(owner)
        return {
            key: without_nulls(item, hints.get(key, Any))
            for key, item in value.items()
            if item is not None or key not in defaulted
        }
    if isinstance(value, list) and (inner := _inner(kind)) is not Any:
        return [without_nulls(item, inner) for item in value]
    return value
