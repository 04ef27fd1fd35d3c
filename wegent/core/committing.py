"""The commit of an attempt's ending."""

from __future__ import annotations

import logging

from wegent.core.errors import Conflict, NotFound, Overloaded
from wegent.core.model import Ending, EndingStatus, Job, Snapshot
from wegent.core.ports.runbook import Finished, RunBook

log = logging.getLogger(__name__)


async def commit(book: RunBook, job: Job, ending: Ending, snapshot: Snapshot) -> Finished:
    """Commit the ending; one that the store can't keep as it is becomes a failure, with the text alone.

    Raises:
        LeaseLost, Terminal, NotFound: it is not the attempt's to end any more.
        Overloaded: the store is away.
    """
    try:
        return await book.finish(job, ending, snapshot)
    except (Overloaded, Conflict, NotFound):
        raise
    except Exception:
        log.exception("the ending of %s can't be kept as it is; it is kept as a failure", job.stream)
    return await book.finish(job, _UNKEPT, Snapshot(snapshot.texts))


_UNKEPT = Ending(EndingStatus.FAILED, "what the run left could not be kept; the cause has been logged", "internal")
