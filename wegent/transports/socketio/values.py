"""JSON values of Socket.IO packets: bounded decoding, tolerant encoding, and bytes that travel beside them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, Final

import attrs
import msgspec

from wegent import codec

MAX_DEPTH: Final = 64  # levels of arrays and objects in a packet, in and out

_BYTES: Final = (bytes, bytearray, memoryview)
_SCALARS: Final = frozenset((str, int, float, bool, NoneType))
_CONTAINERS: Final = frozenset((dict, list))
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

Slot = tuple[Any, Any, int]
"""A container, the key or index in it, and the number of the attachment that belongs there."""


class PacketError(Exception):
    """A packet or payload that breaks Engine.IO 4 or Socket.IO 5, or a limit; `reason` is a sentence.

    With `namespace` set the stream is still in step: only the content of one event was bad, and an error may
    answer it where `ack_id` is set too. Otherwise the connection cannot go on.
    """

    def __init__(self, reason: str, *, namespace: str | None = None, ack_id: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.namespace = namespace
        self.ack_id = ack_id


def decode_json(data: bytes, *, loose: bool = False) -> Any:
    """A JSON text as dicts, lists and scalars; with `loose`, halves of surrogate pairs may be in it.

    Raises PacketError for all else, and for nesting over MAX_DEPTH.
    """
    try:
        value = codec.decode_loose(data) if loose else _decode(data)
    except RecursionError:
        raise PacketError(f"JSON is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError:  # DecodeError, ValidationError and UnicodeDecodeError among them
        raise PacketError("The packet does not hold valid JSON.") from None
    # Few brackets in the text cannot nest deeply; most packets end here.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_too_deep(value):
        raise PacketError(f"JSON is nested deeper than {MAX_DEPTH} levels.")
    return value


def encode_json(value: Any) -> bytes:
    """A value as JSON: what msgspec knows, so attrs instances too.

    Halves of surrogate pairs become U+FFFD. Raises TypeError for what JSON has no form for, PacketError for
    nesting without end.
    """
    try:
        try:
            return _encode(value)
        except UnicodeEncodeError:
            return _encode(_with_valid_text(_plain(value)))
    except RecursionError:
        raise PacketError("A value is nested too deeply to be sent.") from None


def holds_bytes(items: Collection[Any], depth: int = MAX_DEPTH) -> bool:
    """Whether bytes are nested anywhere in `items`. Raises PacketError beyond `depth` levels.

    One set operation for each container that holds scalars only, as nearly all do.
    """
    if not depth:
        raise PacketError(f"A value is nested deeper than {MAX_DEPTH} levels.")
    for item in items:
        kind: Any = type(item)
        if kind in _SCALARS:
            continue
        if kind is dict:
            inner: Collection[Any] = item.values()
        elif kind is list or kind is tuple:
            inner = item
        elif isinstance(item, _BYTES):
            return True
        else:
            inner = _reader(kind)(item)
        if not _SCALARS.issuperset(map(type, inner)) and holds_bytes(inner, depth - 1):
            return True
    return False


def take_bytes(value: Any) -> tuple[Any, list[bytes]]:
    """A copy of `value` with a numbered placeholder where bytes were, and the bytes in that order."""
    taken: list[bytes] = []

    def copy(value: Any) -> Any:
        if isinstance(value, _BYTES):
            taken.append(bytes(value))
            return {"_placeholder": True, "num": len(taken) - 1}
        if isinstance(value, dict):
            return {key: copy(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [copy(item) for item in value]
        return value

    try:
        return copy(_plain(value)), taken
    except RecursionError:
        raise PacketError("A value is nested too deeply to be sent.") from None


def find_slots(value: list[Any], count: int) -> list[Slot]:
    """Where the placeholders of `count` attachments are. Raises PacketError unless each is there exactly once."""
    slots: list[Slot] = []
    due = set(range(count))
    for container, key, child in _objects(value):
        if child.get("_placeholder") is True:
            number = child.get("num")
            if type(number) is not int or number not in due:
                raise PacketError("A placeholder's number is not that of an attachment, or is there twice.")
            due.remove(number)
            slots.append((container, key, number))
    if due:
        raise PacketError("An attachment has no placeholder.")
    return slots


def _objects(value: list[Any]) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Every object nested in `value`, with its container and its key there."""
    waiting: list[Any] = [value]
    for container in waiting:
        for key, child in container.items() if type(container) is dict else enumerate(container):
            if type(child) is dict:
                yield container, key, child
            if type(child) in _CONTAINERS:
                waiting.append(child)  # breadth first: the list is the queue


def _is_too_deep(value: Any) -> bool:
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            for child in (each.values() if type(each) is dict else each)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True


def _plain(value: Any) -> Any:
    """What msgspec writes as JSON, as dicts, lists and scalars; bytes stay bytes."""
    return msgspec.to_builtins(value, builtin_types=_BYTES, str_keys=True, enc_hook=_unpack)


def _unpack(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return _decode(value)
    raise TypeError(f"JSON has no form for a {type(value).__name__}")


def _with_valid_text(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_with_valid_text(key): _with_valid_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_valid_text(item) for item in value]
    return value


@lru_cache(maxsize=1024)
def _reader(kind: type[Any]) -> Callable[[Any], Collection[Any]]:
    """How to see what an instance of `kind` holds; nothing for what msgspec writes as a scalar."""
    if issubclass(kind, dict):
        return lambda value: value.values()
    if issubclass(kind, list | tuple | set | frozenset | deque):
        return lambda value: value
    names = _field_names(kind)
    if not names:
        return lambda _: ()
    if len(names) == 1:
        return lambda value: (getattr(value, names[0]),)
    return attrgetter(*names)


def _field_names(kind: type[Any]) -> tuple[str, ...]:
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind))
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    return tuple(getattr(kind, "__dataclass_fields__", ()))
