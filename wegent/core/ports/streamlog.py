"""The log of what runs say: ordered, replayable, written before anybody is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from wegent.core.model import Ending, Entry, Snapshot, StreamId, Text
from wegent.core.replica import Replica


class StreamLog(ABC):
    """Keeps streams while they run, and for a while after their end.

    Append and announcement to other workers (`fanout.Appended`) are one step. Streams come into being with their first
    entry. A log that is shared may be away: then what is asked of it raises `BrokerAway`, but for streams that this
    worker holds (`hold`), if the log knows how to go on with their copies.
    """

    __slots__ = ()

    @abstractmethod
    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries, all or none. Ones already there and equal are skipped. One at a time for each stream.

        Raises:
            OffsetMismatch: a text does not start at its channel's end; carries the true length.
            Sealed: the stream has ended.
        """

    @abstractmethod
    async def read(self, stream: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        """What the stream holds, text of each channel from `since` on; None if the log has never heard of it."""

    @abstractmethod
    async def restore(self, stream: StreamId, snapshot: Snapshot) -> None:
        """Write back what the log has lost. Longer text that is there already stays.

        Raises:
            Sealed: the stream has ended.
        """

    @abstractmethod
    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        """Seal the stream: later appends raise `Sealed`. It is forgotten `keep` seconds later."""

    def hold(self, replica: Replica, *, new: bool = False) -> None:  # noqa: B027 - who loses nothing needs no copies
        """This worker writes the stream from now on, and `replica` is its copy: it has what the log may have lost.

        `new`: the attempt begins, and nobody has written its stream before. The copy gets entries after the log has
        taken them, in the step in which `append` returns.
        """

    def forget(self, stream: StreamId) -> None:  # noqa: B027
        """This worker writes the stream no more and will not end it. A local log drops it."""

    local: ClassVar[bool] = False
    """Whether the log lives in this process: then appending needs no waiting, and its copies are the worker's own."""

    def append_now(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """As `append`, of a local log."""
        raise NotImplementedError

    def append_text(self, replica: Replica, channel: str, text: str) -> None:
        """As `append_now`, of text at the end of a channel of a local log's own copy: the way of tokens."""
        self.append_now(replica.stream, (Text(channel, replica.length(channel), text),))

    def post_text(self, replica: Replica, channel: str, text: str, done: Callable[[bool], None]) -> bool:
        """Begin to append text at the end of a held stream's channel without waiting: a shared log's way of tokens.

        `done` is called later, in a plain step: True, and the log has it; False, and nobody knows, so that `append` is
        to be asked next with the same. Until then nothing else is asked for this stream. Returns False where that can't
        be had now, and `done` is not called.
        """
        del replica, channel, text, done
        return False

    def replica(self, stream: StreamId) -> Replica:
        """A local log's own copy, made where it is not there yet, and changed by appending alone."""
        raise NotImplementedError
