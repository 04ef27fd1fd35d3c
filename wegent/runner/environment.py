"""The environment of what runs for users: nothing of the server's own settings and secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable

MARK = "WEGENT_TASK_ID"
"""Set where an environment was made for a run: all of it is meant for what runs there."""
PASSED = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PYTHONPATH", "SHELL", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"}
)


def plain(also: Iterable[str] = ()) -> dict[str, str]:
    """Of this process's environment what every program needs, and `also`."""
    names = PASSED | frozenset(also)
    return {name: value for name, value in os.environ.items() if name in names or name.startswith("LC_")}


def for_commands(task_id: int) -> dict[str, str]:
    """What a command of a run may see: everything, if this process's environment was made for the run."""
    return dict(os.environ) if MARK in os.environ else {**plain(), MARK: str(task_id)}
