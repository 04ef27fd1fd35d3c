"""What an agent is, and how one is found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.runner.job import Job

Agent = Callable[[Job, Sink], Awaitable[Mapping[str, Any] | None]]
"""`async def agent(job, sink)`, on Trio. What it returns, if anything, is kept as the row's `result.workbench`.

It ends the run as FAILED by raising, best `RunFailed(sentence, type=…)`; when the run is cancelled, it is.
"""


def load(reference: str) -> Agent:
    """The agent that `module:function` names.

    Raises:
        RunFailed: there is none, or its module can't be imported.
    """
    module, _, name = reference.partition(":")
    if not module or not name:
        message = f"An agent is named as module:function, not {reference!r}."
        raise RunFailed(message)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise RunFailed(f"The agent {reference!r} can't be loaded: {error}.") from error
    if not callable(found):
        message = f"The agent {reference!r} is no function."
        raise RunFailed(message)
    return cast("Agent", found)
