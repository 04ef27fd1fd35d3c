"""What the viewers of one task on this worker have been told, and what waits until what lies before it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import trio
from attrs import evolve

from wegent.core.model import EndingStatus, Entry, StreamId
from wegent.core.ports.rows import Change, Changes
from wegent.core.streams import whole
from wegent.core.told import Told

if TYPE_CHECKING:
    from wegent.core.rooms import Rooms
    from wegent.core.streams import Streams

MOST_HELD = 1_000
"""Events of one task that may wait for earlier ones; what comes then is dropped, and found in the rows."""
MOST_ROWS = 512
"""Rows of one task of which is remembered what was told."""
MARGIN = 16
"""Revisions before the last one told that are looked at again: one revision may be told in several messages."""


class Order:
    """Brings the events of one task into the order of their revisions, whoever committed them.

    `known` is the revision up to which all was told here; None: nobody here has been told anything yet. All of this is
    plain.
    """

    def __init__(self, streams: Streams, rooms: Rooms) -> None:
        self.known: int | None = None
        self.based = False
        """Whether the rows were looked at, since when nothing that another worker told was missed."""
        self.doubts = 0
        """How often something may have been missed; until the rows were looked at since, all events wait."""
        self.changed = trio.Event()
        """Set, and made anew, when `known` has grown."""
        self._streams = streams
        self._rooms = rooms
        self._mended = -1
        self._settled = 0
        self._told: dict[int, tuple[int, bool]] = {}
        self._held: dict[int, list[Told]] = {}
        self._waiting: list[Told] = []
        self._followed: set[StreamId] = set()

    @property
    def doubtful(self) -> bool:
        """Whether something may have been missed since the rows were looked at."""
        return self.doubts > self._settled

    @property
    def stuck(self) -> bool:
        """Whether something waits for what has not come."""
        return bool(self._held or self._waiting)

    def expects(self) -> bool:
        """Whether a stream that another worker writes goes on, as far as is known here."""
        return any(self._streams.running(each) and not self._streams.own(each) for each in self._followed)

    def take(self, told: Told) -> None:
        """Tell of it, or keep it until what lies before it was told. It has a `revision`."""
        revision = told.revision or 0
        if self.known is None and self._rooms.has_members(told.namespace, told.room):
            self.known = revision - 1  # who is in the room already came with a message, and knows nothing else
        if sum(map(len, self._held.values())) < MOST_HELD:
            self._held.setdefault(revision, []).append(told)
        self._drain()
        if told.stream is not None and told.begins and not self._began(told.stream):
            self._streams.mute(told.stream)

    def wait(self, told: Told) -> bool:
        """Keep what comes behind the revision `after` of this task; False: nothing has to be waited for."""
        if self.known is None or told.after is None or (told.after <= self.known and not self.doubtful):
            return False
        if len(self._waiting) >= MOST_HELD:
            self._rooms.emit_here(self._waiting.pop(0))
        self._waiting.append(told)
        return True

    def after_waiting(self, told: Told) -> None:
        """Tell the same room of this once more, behind what waits for it."""
        last = max((each.after or 0 for each in self._waiting if each.room == told.room), default=None)
        if last is not None:
            self._waiting.append(evolve(told, after=last))  # behind nothing: nothing newer stands for it

    def hear(self, stream: StreamId, entries: Sequence[Entry]) -> bool:
        """Another worker's log entries; False if something before them is missing."""
        attempt, ended = self._told.get(stream.subtask_id, (0, False))
        if attempt > stream.attempt or (attempt == stream.attempt and ended):
            return True
        self._follow(stream)
        return self._streams.hear(stream, entries)

    def unsaid(self, changes: Changes) -> set[StreamId]:
        """The running streams whose text may be incomplete here."""
        running = {change.stream for change in changes.rows if change.running and change.stream is not None}
        return running | {stream for stream in self._followed if self._streams.running(stream)}

    def mend(self, changes: Changes, texts: Mapping[StreamId, Sequence[Entry]], doubts: int) -> None:
        """Tell what the rows, as they are now, imply beyond what was told, and `texts` of the log. `doubts` is what
        there were of them before the rows were read.
        """
        self._settled = max(self._settled, doubts)
        fresh, self.based = not self.based, True
        if self.known is None:
            self.known = changes.revision
        for stream, entries in texts.items():
            if self._streams.get(stream) is not None:
                self.hear(stream, entries)
        implied: dict[int, list[Change]] = {}
        for change in changes.rows:
            if fresh and change.revision <= self.known:
                self._learn(change, texts)
            else:
                if fresh and change.stream is not None and self._streams.told(change.stream):
                    self._note(change.row, change.attempt, ended=False)  # it began before anybody came
                implied.setdefault(change.revision, []).append(change)
        due = {revision for revision in self._held if revision <= changes.revision}
        for revision in sorted(due | implied.keys()):
            self._imply(implied.get(revision, ()), self._held.pop(revision, ()), texts)
        if changes.revision > self.known:  # what lies between is told as it ended: how it stood then is past
            stale = range(self.known + 1, changes.revision)
            self._waiting = [told for told in self._waiting if told.after not in stale or not told.behind]
        self._mended = max(self._mended, changes.revision)
        self._grow(max(changes.revision, self.known))
        self._drain()

    def stop(self) -> None:
        """Nobody is here to be told any more."""
        for stream in self._followed:
            self._streams.unfollow(stream)
        self._followed.clear()

    def _learn(self, change: Change, texts: Mapping[StreamId, Sequence[Entry]]) -> None:
        """What those who are here knew when they came."""
        if change.stream is None:
            self._told.setdefault(change.row, (0, True))
        elif change.running or change.rest is not None:
            self._note(change.row, change.attempt, ended=not change.running)
            if change.running:
                self._follow(change.stream)
                self._streams.meet(change.stream, change.revision, texts.get(change.stream, ()))

    def _imply(
        self, changes: Iterable[Change], held: Iterable[Told], texts: Mapping[StreamId, Sequence[Entry]]
    ) -> None:
        changes = tuple(changes)
        for change in changes:
            if change.start is not None:
                self._tell(change.start)
            if change.stream is not None and self._began(change.stream):
                self.hear(change.stream, _entries(change) or texts.get(change.stream, ()))
        for told in held:
            self._tell(told)
        for change in changes:
            if change.rest is not None:
                self._tell(change.rest)

    def _drain(self) -> None:
        while self.known is not None and self._held and not self.doubtful:
            revision = min(self._held)
            waiting = self._held[revision]
            if revision > self.known + 1:
                break
            while waiting and self._whole(waiting[0]):
                self._tell(waiting.pop(0))
            if waiting:
                break
            del self._held[revision]
            self._grow(revision)

    def _grow(self, revision: int) -> None:
        if self.known is None or revision > self.known:
            self.known = revision
            self.changed.set()
            self.changed = trio.Event()
        if self.doubtful:
            return
        known = self.known
        due = [told for told in self._waiting if (told.after or 0) <= known]
        self._waiting = [told for told in self._waiting if (told.after or 0) > known]
        for told in sorted(due, key=lambda told: told.after or 0):
            self._rooms.emit_here(told)

    def _whole(self, told: Told) -> bool:
        """Whether all of its text was told, where it is an ending."""
        if told.ends is None or told.stream is None or told.measure is None:
            return True
        replica = self._streams.get(told.stream)
        return replica is None or replica.ending is not None or told.measure.reached(replica)

    def _tell(self, told: Told) -> None:
        """Hand it to the rooms, unless that was done, or the rows as they were later have told more."""
        if (told.revision or 0) <= self._mended:
            return
        if told.stream is not None:
            self._tell_of_run(told, told.stream)
        elif told.row is not None:
            if told.row not in self._told:
                self._note(told.row, 0, ended=True)
                self._rooms.emit_here(told)
        elif told.event:
            self._rooms.emit_here(told)

    def _tell_of_run(self, told: Told, stream: StreamId) -> None:
        attempt, ended = self._told.get(stream.subtask_id, (0, False))
        if attempt > stream.attempt or (attempt == stream.attempt and (ended or told.ends is None)):
            return
        self._note(stream.subtask_id, stream.attempt, ended=told.ends is not None)
        for earlier in self._followed:
            if earlier.subtask_id == stream.subtask_id and earlier.attempt < stream.attempt:
                self._streams.over(earlier, EndingStatus.CANCELLED)
        self._rooms.emit_here(told)
        if told.ends is None:
            self._follow(stream)
            self._streams.meet(stream, told.revision or 0)
        else:
            self._streams.over(stream, told.ends)

    def _began(self, stream: StreamId) -> bool:
        """Whether its start was told."""
        return self._told.get(stream.subtask_id, (0, False))[0] >= stream.attempt

    def _follow(self, stream: StreamId) -> None:
        if stream not in self._followed:
            self._followed = {each for each in self._followed if self._streams.get(each) is not None}
            self._followed.add(stream)
            self._streams.follow(stream)

    def _note(self, row: int, attempt: int, *, ended: bool) -> None:
        self._told.pop(row, None)
        self._told[row] = (attempt, ended)
        if len(self._told) > MOST_ROWS:
            del self._told[next(iter(self._told))]


def _entries(change: Change) -> list[Entry]:
    return [] if change.kept is None else whole(change.kept)
