"""How a command's failure is told in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from wegent.core.errors import ConfigError, InvalidPayload, WegentError

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors within an exception group, however deep; an ordinary error is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def report(error: BaseException) -> int:
    """Tell an expected failure in one line on stderr; the exit code that goes with it.

    A WegentError has a sentence that is meant to be read. Ctrl-C says nothing. What is neither is a defect and is
    raised again, with its traceback.
    """
    found = list(leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in found):
        return INTERRUPTED
    if not all(isinstance(leaf, WegentError) for leaf in found):
        raise error
    told = dict.fromkeys(str(leaf) for leaf in found)
    for sentence in told:
        sys.stderr.write(f"wegent: {' '.join(sentence.split())}\n")
    return USAGE if any(isinstance(leaf, ConfigError | InvalidPayload) for leaf in found) else FAILED
