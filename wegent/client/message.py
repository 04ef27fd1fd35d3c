"""What a client holds of one message, and how it takes in text and values (protocol §5). No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from attrs import Factory, define, frozen

from wegent.client.text import Channel

TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
UNSTARTED = frozenset({"", "PENDING"})


class ChangeKind(StrEnum):
    """What a change did to the view."""

    ROW = "row"
    BEGIN = "begin"
    TEXT = "text"
    REPLACED = "replaced"
    VALUE = "value"
    END = "end"
    DELETED = "deleted"
    STATUS = "status"
    ALL = "all"


@frozen
class Change:
    """One change of a view, enough to repaint by.

    TEXT carries `channel`, `offset` (code points) and `delta`; REPLACED the `channel` whose text is another one now;
    VALUE the `key`; BEGIN says that a greater attempt emptied text and values; ALL that more changed than was kept, so
    that the whole view is to be read anew.
    """

    kind: ChangeKind
    subtask_id: int | None = None
    attempt: int = 0
    channel: str = ""
    offset: int = 0
    delta: str = ""
    key: str = ""


@define(eq=False)
class Message:
    """One row of a task: a USER's message, or an ASSISTANT's with the current attempt's text and values.

    `attempt` 0: not known yet. `started` is the attempt whose beginning was seen, `ended` the one whose ending was.
    `truncated`: the server cut the text for its frame limit, the rest has to be asked for. `refetch`: a resume of an
    ended attempt is under way, its chunks count although the attempt has ended.
    """

    id: int
    message_id: int | None = None
    role: str = ""
    status: str = ""
    attempt: int = 0
    revision: int = 0
    prompt: str = ""
    content: Channel = Factory(Channel)
    thinking: Channel = Factory(Channel)
    values: dict[str, Mapping[str, Any]] = Factory(dict)
    error: str | None = None
    error_type: str | None = None
    bot_name: str = ""
    shell_type: str = ""
    reason: str | None = None
    sender: Mapping[str, Any] | None = None
    client_message_id: str | None = None
    contexts: Any = None
    created_at: str | None = None
    started: int = 0
    ended: int = 0
    truncated: bool = False
    refetch: bool = False

    @property
    def text(self) -> str:
        """What the message says: the prompt of a USER, the content of an ASSISTANT."""
        return self.prompt if self.role == "USER" else self.content.value

    @property
    def phase(self) -> str:
        """The client's own state of protocol §5: pending, streaming, completed or error."""
        if self.status == "COMPLETED":
            return "completed"
        if self.status in TERMINAL:
            return "error"
        return "streaming" if self.status in ("RUNNING", "CANCELLING") else "pending"

    @property
    def has_ended(self) -> bool:
        """Whether the current attempt is over."""
        return self.ended == self.attempt and self.ended > 0

    @property
    def blocks(self) -> list[Mapping[str, Any]]:
        """Blocks in the order in which they stand in the text."""
        found = [value for key, value in self.values.items() if key.startswith("block:")]
        return sorted(found, key=lambda block: (_number(block.get("at")), str(block.get("id"))))

    def begin(self, attempt: int) -> Change:
        """Take up a greater attempt: no text, no values, not ended, of a revision that nobody has said yet."""
        self.attempt, self.revision, self.refetch, self.truncated = attempt, 0, False, False
        self.content, self.thinking, self.values = Channel(), Channel(), {}
        self.error = self.error_type = None
        self.status = "PENDING"
        return Change(ChangeKind.BEGIN, self.id, attempt)

    def set_value(self, key: str, value: Mapping[str, Any]) -> tuple[bool, bool]:
        """Keep the value of the greatest version; returns (changed, clashes).

        It clashes when the same version was there with other data. A value without a version replaces what was there.
        """
        old = self.values.get(key)
        version = value.get("version")
        if old is not None and isinstance(version, int) and isinstance(known := old.get("version"), int):
            if version < known:
                return False, False
            if version == known:
                return False, dict(old) != dict(value)
        self.values[key] = value
        return old is None or dict(old) != dict(value), False


def values_in(part: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The values of a `result`, or of a join ack's `values`, as (key, value).

    Takes both forms: an object with `blocks`, `app` and `progress`, or a list of blocks and of `{kind, key, version,
    data}`.
    """
    if isinstance(part, Mapping):
        blocks = part.get("blocks")
        for block in blocks if isinstance(blocks, list) else ():
            yield from _block(block)
        for key in ("app", "progress"):
            if (value := part.get(key)) is not None:
                yield key, _as_value(value)
    elif isinstance(part, list):
        for entry in part:
            yield from _entry(entry)


def _entry(entry: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(entry, Mapping):
        return
    data = entry.get("data")
    if not isinstance(data, Mapping):
        yield from _block(entry)
    elif entry.get("kind") == "block":
        yield from _block({"version": entry.get("version"), "id": entry.get("key"), **data})
    else:
        yield str(entry.get("kind")), {"version": entry.get("version"), **data}


def _block(block: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(block, Mapping) and block.get("id") is not None:
        yield f"block:{block['id']}", block


def _as_value(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"value": value}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
