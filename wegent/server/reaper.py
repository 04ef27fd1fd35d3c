"""Takes over the runs of owners that are lost, while the server serves (protocol §6.5, §7)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import trio
from attrs import frozen

from wegent.core.errors import BrokerAway, Overloaded
from wegent.core.instruments import Registry
from wegent.core.model import Ending, EndingStatus, StreamId
from wegent.core.remote import RemoteRuns
from wegent.core.replica import Replica
from wegent.core.saving import Tail
from wegent.core.streams import Streams
from wegent.server.ending import Lost, ending_of
from wegent.server.owners import Lapses, reason_of
from wegent.server.runbook import StoreRunBook
from wegent.server.silence import Silences
from wegent.server.status import is_terminal
from wegent.server.telling import Teller

log = logging.getLogger(__name__)
_LOST = Ending(EndingStatus.FAILED)
LOOK_EVERY = 1.0
"""Seconds between looks at the beats."""


@frozen
class _Doubt:
    """Attempts of an owner, by row, of whose taking nobody knows whether it was committed."""

    owner: str
    attempts: Mapping[int, int]


class Reaper:
    """Looks at the beats of all owners but its own worker. Any number of workers may have one.

    An owner is lost that has not beaten for its lapse, as seen here, with the database answering every look. Its runs
    end, or are queued again, if it has not beaten until that is committed.
    """

    def __init__(
        self,
        book: StoreRunBook,
        remote: RemoteRuns,
        streams: Streams,
        teller: Teller,
        registry: Registry,
        *,
        owner: str,
        lapses: Lapses | None = None,
    ) -> None:
        """`owner` is this worker."""
        self._book = book
        self._remote = remote
        self._streams = streams
        self._teller = teller
        self._registry = registry
        self._owner = owner
        self._silences = Silences(lapses)
        self._doubt: _Doubt | None = None
        self._blind = False

    async def recover(self, former: str | None = None) -> None:
        """Take what this worker left, which was called so in an earlier life; without a name what any worker left: for
        a server that has the data to itself.
        """
        await self._fetch(await self._book.held(former))
        taken = await self._book.reclaim_workers(former)
        self._tell(self._owner, taken)
        await self._seal(taken)

    async def run(self) -> None:
        """Look and take over, until cancelled."""
        while True:
            await trio.sleep(LOOK_EVERY)
            try:
                await self._look()
            except Overloaded as error:
                self._silences.restart()
                if not self._blind:
                    log.warning("nobody sees who is lost: %s", error.sentence)
                self._blind = True
            else:
                self._blind = False

    async def _look(self) -> None:
        began = trio.current_time()
        beats = await self._book.look(self._owner)
        lost = self._silences.look(began, trio.current_time(), beats)
        if (doubt := self._doubt) is not None:
            self._tell(doubt.owner, await self._book.what_became(doubt.attempts))
        for owner, beat in lost:
            await self._take(owner, beat)

    async def _take(self, owner: str, beat: int | None) -> None:
        held = await self._book.held(owner)
        if held:
            log.warning("%s is lost; it held %d runs", owner, len(held))
            await self._remote.save()  # a run on a host or device keeps all the text that arrived here
            await self._fetch(held)
        self._doubt = _Doubt(owner, {each.subtask_id: each.attempt for each in held})
        taken = await self._book.reclaim(owner, beat)
        self._tell(owner, taken)
        await self._seal(taken)

    async def _seal(self, taken: Iterable[Lost]) -> None:
        """Nobody will write those streams any more."""
        try:
            for lost in taken:
                await self._streams.seal(StreamId(lost.row.task_id, lost.row.id, lost.attempt), _LOST)
        except BrokerAway as error:
            log.warning("the streams of lost runs stay in the log until they lapse: %s", error.sentence)

    async def _fetch(self, held: Iterable[StreamId]) -> None:
        """What a shared log has more than was saved goes beside the rows, from where a take-over reads it."""
        try:
            for stream in held:
                if (found := await self._streams.kept(stream)) is not None:
                    tail = Tail(Replica.of(stream, found), "", await self._book.saved(stream))
                    if (unsaved := tail.unsaved()) is not None:
                        await self._book.save([unsaved])
        except BrokerAway as error:
            log.warning("lost runs keep what was saved of them, maybe less than was said: %s", error.sentence)

    def _tell(self, owner: str, taken: Iterable[Lost]) -> None:
        """Tell of what was committed just now, or when nobody knew of it."""
        self._doubt = None
        reason = reason_of(owner)
        for lost in taken:
            self._count("wegent_runs_lost", "Runs taken from owners that were lost", reason=reason.value)
            if is_terminal(lost.row):
                self._count("wegent_tasks", "Attempts by outcome", outcome=lost.row.status.lower())
            self._drop(lost)
            self._teller.taken(lost.row, lost.view)

    def _drop(self, lost: Lost) -> None:
        """What this worker has of the attempt goes: who joins from now on sees the row."""
        row, run = lost.row, self._remote.get(lost.row.id)
        if run is not None and run.job.attempt <= lost.attempt:
            ended = is_terminal(row) and run.job.attempt == row.attempt
            self._remote.drop(row.id, run.job.attempt, ending_of(row) if ended else None)

    def _count(self, name: str, help: str, **labels: str) -> None:
        self._registry.counter(name, help, **labels).add()
