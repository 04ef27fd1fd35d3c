"""A worker's copy of one stream: texts, newest values, ending."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wegent.core.errors import OffsetMismatch, Sealed
from wegent.core.model import CONTENT, Ending, Entry, Snapshot, StreamId, Text, Value
from wegent.core.text import TextBuffer


class Replica:
    """What a stream holds as far as this worker has heard. All methods are plain: a reader sees whole appends only.

    `revision` is the task's when the attempt started: who knows a later state of the task's rows knows of this stream.
    While it is `muted` nobody is told what it says: its start has not been told yet.
    """

    __slots__ = ("ending", "muted", "revision", "stream", "texts", "values")

    def __init__(self, stream: StreamId, revision: int = 0) -> None:
        self.stream = stream
        self.revision = revision
        self.texts: dict[str, TextBuffer] = {}
        self.values: dict[str, Value] = {}
        self.ending: Ending | None = None
        self.muted = False

    @classmethod
    def of(cls, stream: StreamId, snapshot: Snapshot, revision: int = 0) -> Replica:
        """A replica that holds a whole snapshot (one read from 0)."""
        replica = cls(stream, revision)
        replica.texts = {channel: TextBuffer(text) for channel, text in snapshot.texts.items()}
        replica.values = {value.key: value for value in snapshot.values}
        replica.ending = snapshot.ending
        return replica

    def length(self, channel: str = CONTENT) -> int:
        """The channel's length in code points."""
        text = self.texts.get(channel)
        return 0 if text is None else len(text)

    def text(self, channel: str = CONTENT, start: int = 0, stop: int | None = None) -> str:
        """The channel's text from `start` to `stop`."""
        text = self.texts.get(channel)
        return "" if text is None else text.slice(start, stop)

    def lengths(self) -> dict[str, int]:
        """Every channel's length."""
        return {channel: len(text) for channel, text in self.texts.items()}

    def apply(self, entries: Iterable[Entry]) -> None:
        """Add entries that continue what is here, all or none; what is here already is skipped.

        Raises:
            OffsetMismatch: a text starts past its channel's end, or differs from what is there.
            Sealed: the stream has ended.
        """
        self._check()
        entries = tuple(entries)
        if len(entries) > 1:
            self._rehearse([entry for entry in entries if isinstance(entry, Text)])
        for entry in entries:
            if isinstance(entry, Text):
                self._apply(entry)
            else:
                known = self.values.get(entry.key)
                if known is None or known.version < entry.version:
                    self.values[entry.key] = entry

    def newer(self, entries: Iterable[Entry]) -> list[Value]:
        """The values among the entries that are newer than what is here."""
        known = self.values
        values = (entry for entry in entries if isinstance(entry, Value))
        return [each for each in values if each.key not in known or known[each.key].version < each.version]

    def append(self, channel: str, text: str) -> None:
        """Add to the end of a channel.

        Raises:
            Sealed: the stream has ended.
        """
        self._check()
        buffer = self.texts.get(channel)
        if buffer is None:
            buffer = self.texts[channel] = TextBuffer()
        buffer.append(text)

    def _check(self) -> None:
        if self.ending is not None:
            message = "the stream has ended"
            raise Sealed(message)

    def _rehearse(self, texts: Sequence[Text]) -> None:
        """See that all of them fit before the first is added."""
        ends: dict[str, int] = {}
        for text in texts:
            if text.channel not in ends:
                self._overlap(text)
            elif text.offset != ends[text.channel]:  # what this very call says elsewhere counts too
                trial = Replica.of(self.stream, self.snapshot())
                for each in texts:
                    trial._apply(each)
                return
            ends[text.channel] = max(self.length(text.channel), text.offset + len(text.delta))

    def _overlap(self, text: Text) -> int:
        """How much of the text is here already."""
        buffer = self.texts.get(text.channel)
        length = 0 if buffer is None else len(buffer)
        overlap = length - text.offset
        if overlap and (
            overlap < 0
            or buffer is None
            or buffer.slice(text.offset, text.offset + len(text.delta)) != text.delta[:overlap]
        ):
            message = f"the {text.channel} channel holds {length} code points"
            raise OffsetMismatch(message, offset=length, channel=text.channel)
        return overlap

    def _apply(self, text: Text) -> None:
        overlap = self._overlap(text)
        buffer = self.texts.get(text.channel)
        if buffer is None:
            buffer = self.texts[text.channel] = TextBuffer()
        if overlap < len(text.delta):
            buffer.append(text.delta[overlap:] if overlap else text.delta)

    def snapshot(self, since: Mapping[str, int] | None = None) -> Snapshot:
        """The stream as a value."""
        since = since or {}
        return Snapshot(
            texts={channel: text.slice(since.get(channel, 0)) for channel, text in self.texts.items()},
            values=tuple(self.values.values()),
            lengths=self.lengths(),
            ending=self.ending,
        )
