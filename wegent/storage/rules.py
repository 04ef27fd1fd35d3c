"""What every store checks of what it is given, and what it fills in: one place, so that all stores agree."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from wegent.codec import CodecError, decode, encode
from wegent.core.errors import InvalidPayload
from wegent.protocol.limits import DEFAULT_SLOTS
from wegent.server.records import Attachment, Device, Execution, Kind, Member, SavedPart, Subtask, Task, Token, User

PENDING: Final = "PENDING"
HELD: Final = ("RUNNING", "CANCELLING")
OFFLINE: Final = "offline"
UNFINISHED: Final = (PENDING, *HELD)
USER: Final = "USER"
ASSISTANT: Final = "ASSISTANT"

# Code points; the SQL columns are as wide. Texts that are not named here have no limit of the store's.
WIDTHS: Final[Mapping[str, int]] = {
    "user_name": 255,
    "sender_name": 255,
    "password_hash": 255,
    "jti": 64,
    "scope": 32,
    "kind": 64,
    "namespace": 255,
    "role": 32,
    "status": 32,
    "task_type": 32,
    "client_message_id": 64,
    "device_id": 255,
    "target": 255,
    "owner": 255,
    "lease": 255,
    "on_lost": 32,
    "reason": 64,
    "error_type": 64,
    "shell_type": 64,
    "channel": 64,
    "connection": 255,
    "executor_version": 255,
    "cron": 255,
    "timezone": 255,
    "blob": 255,
    "content_type": 255,
}
_KIND_NAME_WIDTH: Final = 255
_QUERY_WIDTH: Final = 1_000  # SQLite takes no longer patterns than 50 KB

_FIXED: Final[Mapping[type, frozenset[str]]] = {
    User: frozenset({"id", "created_at"}),
    Task: frozenset({"id", "revision", "last_message_id", "created_at", "updated_at"}),
    Subtask: frozenset({"id", "task_id", "revision", "created_at", "updated_at"}),
    Member: frozenset({"task_id", "user_id", "user_name"}),
    Device: frozenset({"user_id", "device_id", "created_at"}),
    Attachment: frozenset({"id", "user_id", "created_at"}),
    Execution: frozenset({"id", "user_id", "created_at", "updated_at"}),
}
_CHANGEABLE: Final = {
    record: frozenset(each.name for each in attrs.fields(record)) - fixed for record, fixed in _FIXED.items()
}

TASK_DEFAULTS: Final[Mapping[str, Any]] = {
    "status": "COMPLETED",
    "progress": 0,
    "is_group_chat": False,
    "task_type": "chat",
}

DEVICE_DEFAULTS: Final[Mapping[str, Any]] = {"slot_max": DEFAULT_SLOTS, "status": OFFLINE}


def check_changes(record: type, changes: Mapping[str, Any]) -> None:
    """Raise TypeError for a name that is no field of the record, or one that only the store sets."""
    unknown = changes.keys() - _CHANGEABLE[record]
    if unknown:
        raise TypeError(f"{record.__name__} has no changeable field {', '.join(sorted(unknown))}")


def check_texts(fields: Mapping[str, Any]) -> None:
    """Raise `InvalidPayload` for a text with U+0000 or a lone surrogate, or wider than its column."""
    for name, value in fields.items():
        if value.__class__ is str:
            check_text(name, value, WIDTHS.get(name))


def check_text(name: str, value: str, width: int | None = None) -> None:
    """Raise `InvalidPayload` if the text cannot be kept as it is."""
    if "\0" in value:
        raise InvalidPayload(f"{name} holds U+0000, which cannot be stored")
    if width is not None and len(value) > width:
        raise InvalidPayload(f"{name} is longer than {width} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidPayload(f"{name} holds a lone surrogate, which cannot be stored") from None


def check_kind_name(kind: str, namespace: str, name: str) -> None:
    """The parts of a kind's name; `name` has a width here only."""
    check_texts({"kind": kind, "namespace": namespace})
    check_text("name", name, _KIND_NAME_WIDTH)


def fold_query(query: str) -> str:
    """What `tasks_of` looks for in folded titles."""
    check_text("query", query, _QUERY_WIDTH)
    return query.casefold()


def check_parts(parts: Iterable[SavedPart]) -> None:
    """The texts of saved parts."""
    for part in parts:
        check_text("channel", part.channel, WIDTHS["channel"])
        check_text("text", part.text)


def check_token(token: Token) -> None:
    """The texts of a token."""
    check_texts({"jti": token.jti, "scope": token.scope, "token name": token.name})


def first_beat() -> int:
    """What the beats of an owner begin with."""
    return secrets.randbelow(2**30)


def dump(value: Any) -> str:
    """JSON of a row's field. Raises `InvalidPayload` for what JSON cannot say."""
    try:
        return encode(value).decode()
    except CodecError as error:
        raise InvalidPayload(f"a value cannot be stored: {error.sentence}") from None


def load(text: str) -> Any:
    """What `dump` wrote."""
    return decode(text)


def kind_fields(kind: Kind) -> tuple[int | None, str, str, str]:
    """What a kind is found by."""
    return (kind.user_id, kind.kind, kind.namespace, kind.name)
