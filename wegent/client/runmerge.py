"""How one message takes in the deltas, values and ending of its run (protocol §5). No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wegent.client.message import Change, ChangeKind, Message, values_in
from wegent.client.problems import ProblemKind
from wegent.client.text import Channel

Note = Callable[[ProblemKind, Message, str], None]
"""Records a problem of a message."""

CHANNELS = ("content", "thinking")


class RunMerge:
    """Applies parts of a run to a message, collecting what changed in `changes` and what is missing in `missing`."""

    __slots__ = ("changes", "missing", "note")

    def __init__(self, note: Note) -> None:
        self.note = note
        self.changes: list[Change] = []
        self.missing: set[int] = set()

    def text(self, message: Message, name: str, offset: int, delta: str) -> None:
        """Take in a delta: append it, drop its overlap, or find that something is missing before it."""
        channel: Channel = getattr(message, name)
        self._judge(message, name, channel, offset, delta)
        length = len(channel)
        if offset > length:
            self.missing.add(message.id)
            return
        if not channel.agrees(offset, delta):
            self.note(ProblemKind.DISAGREE, message, f"{name} at {offset} is not what was there")
        if rest := delta[length - offset :]:
            channel.append(rest)
            self.changes.append(Change(ChangeKind.TEXT, message.id, message.attempt, name, length, rest))

    def _judge(self, message: Message, name: str, channel: Channel, offset: int, delta: str) -> None:
        """Compare with what this connection was owed."""
        owed, end = channel.expected, offset + len(delta)
        channel.expected = end if owed is None else max(owed, end)
        if owed is None or owed == offset:
            return
        if offset > owed:
            kind = ProblemKind.GAP
        else:
            kind = ProblemKind.REPEAT if end <= len(channel) else ProblemKind.MISORDER
        self.note(kind, message, f"{name} was owed from {owed}, came at {offset}")

    def whole(self, message: Message, name: str, text: str) -> None:
        """Take in a text from its beginning; it wins where it differs, and a shorter one changes nothing."""
        channel: Channel = getattr(message, name)
        if not channel.agrees(0, text):
            self.note(ProblemKind.DISAGREE, message, f"{name} is not what was there")
            self._replace(message, name, channel, text)
        elif len(text) > len(channel):
            self._extend(message, name, channel, text)

    def final(self, message: Message, name: str, text: str) -> None:
        """Take in the text of an ending: this is it from now on."""
        channel: Channel = getattr(message, name)
        self.whole(message, name, text)
        if len(channel) > len(text):
            self._replace(message, name, channel, text)

    def cut(self, message: Message, length: int) -> None:
        """Drop content past `length`."""
        if len(message.content) > length:
            self._replace(message, "content", message.content, message.content.value[:length])

    def _extend(self, message: Message, name: str, channel: Channel, text: str) -> None:
        length = len(channel)
        channel.append(text[length:])
        self.changes.append(Change(ChangeKind.TEXT, message.id, message.attempt, name, length, text[length:]))

    def _replace(self, message: Message, name: str, channel: Channel, text: str) -> None:
        channel.set(text)
        self.changes.append(Change(ChangeKind.REPLACED, message.id, message.attempt, name))

    def values(self, message: Message, part: object, *, live: bool = False) -> None:
        """Take in all values of a `result`; `live`: they follow on what this connection got before."""
        for key, value in values_in(part):
            known = message.values.get(key, {}).get("version")
            changed, clashes = message.set_value(key, value)
            if clashes:
                self.note(ProblemKind.DISAGREE, message, f"{key} has two contents in version {known}")
            elif live and isinstance(known, int) and _older(value, known):
                self.note(ProblemKind.STALE_VALUE, message, f"{key} in a version before {known}")
            if changed:
                self.changes.append(Change(ChangeKind.VALUE, message.id, message.attempt, key=key))

    def ending(self, message: Message, status: str, payload: Mapping[str, Any]) -> bool:
        """Take in an ending; False for a repeat of one that is known, which changes nothing."""
        offset, result = number(payload, "offset"), payload.get("result")
        result = result if isinstance(result, Mapping) else {}
        cut_short = bool(result.get("truncated") or payload.get("truncated"))
        if message.has_ended:
            self._compare(message, status, result, offset, cut_short=cut_short)
            if not message.refetch:
                return False
        self._text_came_first(message, offset, result, cut_short=cut_short)
        message.status, message.started = status, message.attempt
        self.result(message, result, offset=offset, cut_short=cut_short)
        if not message.refetch:
            # Thinking that this connection followed is whole; else the ending may hold its beginning only.
            unsure = cut_short and bool(result.get("thinking")) and message.thinking.expected is None
            message.truncated = message.truncated or unsure
            self.missing.update([message.id] if message.truncated else [])
        message.ended, message.refetch = message.attempt, False
        message.content.expected = message.thinking.expected = None
        return True

    def _text_came_first(
        self, message: Message, offset: int | None, result: Mapping[str, Any], *, cut_short: bool
    ) -> None:
        owed = message.content.expected
        if owed is not None and offset is not None and owed != offset:
            kind = ProblemKind.EARLY_ENDING if owed < offset else ProblemKind.DISAGREE
            self.note(kind, message, f"ending at {offset}, text had come to {owed}")
        owed, thinking = message.thinking.expected, result.get("thinking")
        if owed is not None and isinstance(thinking, str) and not cut_short and owed != len(thinking):
            kind = ProblemKind.EARLY_ENDING if owed < len(thinking) else ProblemKind.DISAGREE
            self.note(kind, message, f"ending with {len(thinking)} of thinking, {owed} had come")

    def _compare(
        self, message: Message, status: str, result: Mapping[str, Any], offset: int | None, *, cut_short: bool
    ) -> None:
        """A second ending of an attempt must be the first one over again."""
        value = result.get("value")
        if status != message.status:
            self.note(ProblemKind.SECOND_ENDING, message, f"{status} after {message.status}")
        elif isinstance(value, str) and not (cut_short or message.truncated) and value != message.content.value:
            self.note(ProblemKind.DISAGREE, message, "an ending was repeated with another text")
        elif offset is not None and not message.truncated and offset != len(message.content):
            self.note(ProblemKind.DISAGREE, message, "an ending was repeated with another length")

    def result(self, message: Message, result: Mapping[str, Any], *, offset: int | None, cut_short: bool) -> None:
        """Take in an ending's result. `offset`: the length, if told; `cut_short`: `value` is a beginning only."""
        value, thinking = result.get("value"), result.get("thinking")
        if isinstance(value, str) and cut_short:
            self.whole(message, "content", value)
        elif isinstance(value, str):
            if offset is not None and len(value) != offset:
                self.note(ProblemKind.DISAGREE, message, f"value of {len(value)} with offset {offset}")
            self.final(message, "content", value)
        if offset is not None and not (isinstance(value, str) and not cut_short):
            self.cut(message, offset)
        length = offset if offset is not None else (len(message.content) + 1 if cut_short else 0)
        message.truncated = len(message.content) < length
        if isinstance(thinking, str):
            (self.whole if cut_short else self.final)(message, "thinking", thinking)
        self.values(message, result)


def _older(value: Mapping[str, Any], known: int) -> bool:
    version = value.get("version")
    return isinstance(version, int) and version < known


def number(payload: Mapping[str, Any], key: str) -> int | None:
    """An id, attempt, offset or revision of a payload; None where there is none."""
    value = payload.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
