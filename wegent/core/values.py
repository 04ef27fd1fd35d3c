"""Values of a stream on their way in: what runs say of blocks, progress and apps becomes what the log keeps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wegent.core.errors import InvalidPayload, RunFailed
from wegent.core.model import Value
from wegent.core.text import bounded, clean

if TYPE_CHECKING:
    from wegent.core.clock import Clock

PIECE = 65_536
"""Code points of one append at most: its chunk fits a frame whatever it holds."""
MOST_VALUES = 4_096
"""Blocks of one stream."""
NAME_LIMIT = 255
"""Code points of a block's id."""
MESSAGE_LIMIT = 500
MOST_COUNT = 2**53 - 1
"""The greatest number that every client holds exactly."""
STATUSES = frozenset({"pending", "streaming", "done", "error"})

_MERGED = ("type", "tool_name", "tool_input", "tool_output", "status", "timestamp")


class Values:
    """The newest value of each key of one stream, and how the next one follows from it.

    `block`, `progress` and `app` check and make a value; `add` takes it in. All are plain.
    """

    __slots__ = ("_clock", "newest")

    def __init__(self, clock: Clock, newest: Mapping[str, Value]) -> None:
        self._clock = clock
        self.newest: dict[str, Value] = dict(newest)

    def block(self, block: Mapping[str, Any], length: int) -> Value:
        """A block as it is after this change, said when the content had `length` code points; see `Sink.block`.

        Raises:
            InvalidPayload: it is no block.
        """
        block_id = block.get("id")
        if not isinstance(block_id, str) or not 0 < len(block_id) <= NAME_LIMIT:
            message = f"a block needs an `id`, a string of 1 to {NAME_LIMIT} characters"
            raise InvalidPayload(message)
        block_id = clean(block_id)
        key = f"block:{block_id}"
        known = self.newest.get(key)
        data: dict[str, Any] = {"id": block_id, "type": "tool", "status": "pending"}
        if known is not None:
            data.update(known.data)
        data.update((name, bounded(block[name])) for name in _MERGED if block.get(name) is not None)
        data["version"] = max(count(block.get("version")), self._version(key))
        data.setdefault("at", min(count(block["at"]), length) if block.get("at") is not None else length)
        data["timestamp"] = _timestamp(data.get("timestamp") or self._clock.now())
        data["tool_name"] = str(data.get("tool_name") or data["type"])[:NAME_LIMIT]
        if data["type"] != "tool" or data["status"] not in STATUSES:
            message = f"a block is of `type` tool, its `status` one of {', '.join(sorted(STATUSES))}"
            raise InvalidPayload(message)
        return Value(key, data["version"], "block", data)

    def progress(self, progress: int, message: str | None = None) -> Value:
        """How far the work is, 0 to 100."""
        data: dict[str, Any] = {"progress": max(0, min(100, int(progress)))}
        if message:
            data["message"] = clean(message)[:MESSAGE_LIMIT]
        return Value("progress", self._version("progress"), "progress", data)

    def app(self, app: Mapping[str, Any]) -> Value:
        """A running app's preview.

        Raises:
            InvalidPayload: something of it is missing.
        """
        data = {name: app.get(name) for name in ("name", "address", "previewUrl")}
        for name, text in data.items():
            if not isinstance(text, str) or not text.strip():
                message = f"an app needs `name`, `address` and `previewUrl`; `{name}` is missing"
                raise InvalidPayload(message)
            data[name] = clean(text)[:NAME_LIMIT] if name == "name" else bounded(text)
        return Value("app", self._version("app"), "app", data)

    def add(self, value: Value) -> bool:
        """Take it in; False where the stream has as many values as are kept of one."""
        if len(self.newest) >= MOST_VALUES and value.key not in self.newest:
            return False
        self.newest[value.key] = value
        return True

    def _version(self, key: str) -> int:
        known = self.newest.get(key)
        return 1 if known is None else known.version + 1


def output_limit() -> RunFailed:
    """Why a run fails that says more than is kept of one stream."""
    return RunFailed("the output is longer than this server keeps of one stream", type="output_limit")


def count(value: Any) -> int:
    """A version or an offset that an executor gave; nothing is 0.

    Raises:
        InvalidPayload: it is neither.
    """
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_COUNT:
        message = "`version` and `at` of a block are whole numbers from 0"
        raise InvalidPayload(message)
    return value


def _timestamp(value: Any) -> str:
    """A time in the one spelling that every receiver gets, live or later."""
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        message = "the `timestamp` of a block is a time in ISO 8601"
        raise InvalidPayload(message) from None
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
