"""What a run's exception means to its row and its viewers."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import trio

from wegent.core.errors import RunFailed, WegentError
from wegent.core.model import Ending, EndingStatus, StreamId
from wegent.core.text import clean

log = logging.getLogger(__name__)
SENTENCE_LIMIT = 2_000
"""Code points of an error as a row keeps it."""
TYPE_LIMIT = 64


def failed(stream: StreamId, error: Exception, where: str = "the server") -> Ending:
    """What went wrong, for the row and for the viewers; only foreseen errors speak for themselves. `where` it ran."""
    found = list(leaves(error))
    for leaf in found:
        if isinstance(leaf, RunFailed):
            return Ending(EndingStatus.FAILED, _sentence(leaf), clean(str(leaf.type))[:TYPE_LIMIT])
    for leaf in found:
        if isinstance(leaf, WegentError):
            return Ending(EndingStatus.FAILED, _sentence(leaf), "internal")
        if isinstance(leaf, trio.TooSlowError):
            return Ending(EndingStatus.FAILED, "the run took too long", "timeout")
    log.error("run %s failed", stream, exc_info=error)
    return Ending(EndingStatus.FAILED, f"the run failed inside {where}; the cause has been logged", "internal")


def _sentence(error: WegentError) -> str:
    return clean(error.sentence)[:SENTENCE_LIMIT]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors that an exception is made of, however its groups are nested."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
