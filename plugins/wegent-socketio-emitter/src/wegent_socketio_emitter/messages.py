"""What python-socketio's managers tell each other, read with care."""

from __future__ import annotations

import base64
import io
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from wegent.codec import CodecError, decode

MOST = 1_000_000
"""Bytes of a message."""
PICKLE = b"\x80"
"""How a pickle of protocol 2 or later begins."""


class NotUnderstood(ValueError):
    """This is no message of a manager; the sentence says why."""


@frozen
class Emit:
    """An event for `rooms` of a namespace, or for all of it where they are None."""

    namespace: str
    event: str
    payload: Any
    rooms: tuple[str, ...] | None
    skip: frozenset[str]


@frozen
class Order:
    """One of the other methods: about the session `sid`, or the room."""

    method: str
    namespace: str
    sid: str = ""
    room: str = ""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        message = f"a pickle names {module}.{name}, and only plain data is taken"
        raise NotUnderstood(message)


def read(body: bytes) -> Emit | Order | None:
    """A message; None for one that asks nothing of a server that hears it.

    Raises:
        NotUnderstood: it is none.
    """
    if len(body) > MOST:
        message = f"a message has {len(body)} bytes, and at most {MOST} are taken"
        raise NotUnderstood(message)
    message = _data(body)
    if not isinstance(message, Mapping):
        sentence = "a message is an object with a `method`"
        raise NotUnderstood(sentence)
    method, namespace = message.get("method"), message.get("namespace") or "/"
    try:
        if method == "emit":
            return _emit(message, str(namespace))
        if method in ("disconnect", "enter_room", "leave_room", "close_room"):
            return Order(method, str(namespace), str(message.get("sid") or ""), str(message.get("room") or ""))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        sentence = f"`{method}` is not understood: {error}"
        raise NotUnderstood(sentence) from error
    return None


def _data(body: bytes) -> Any:
    try:
        return _Plain(io.BytesIO(body)).load() if body.startswith(PICKLE) else decode(body)
    except (CodecError, NotUnderstood) as error:
        raise NotUnderstood(str(error)) from error
    except Exception as error:  # a pickle may raise anything
        message = f"this pickle can't be read: {type(error).__name__}"
        raise NotUnderstood(message) from error


def _emit(message: Mapping[str, Any], namespace: str) -> Emit:
    data = message.get("data")
    if message.get("binary"):
        assert isinstance(data, list)
        data = _with_binary(data[0], [base64.b64decode(each) for each in data[1:]])
    if isinstance(data, list | tuple) and len(data) == 1:
        data = data[0]
    return Emit(
        namespace,
        str(message["event"]),
        data,
        _names(message.get("room")),
        frozenset(_names(message.get("skip_sid")) or ()),
    )


def _names(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    return tuple(map(str, given)) if isinstance(given, list | tuple | set) else (str(given),)


def _with_binary(data: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(data, list):
        return [_with_binary(each, attachments) for each in data]
    if isinstance(data, dict):
        if data.get("_placeholder") and "num" in data:
            return attachments[int(data["num"])]
        return {name: _with_binary(each, attachments) for name, each in data.items()}
    return data
