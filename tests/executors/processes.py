"""Finds the processes of a run: all that come of it have its environment."""

from __future__ import annotations

from pathlib import Path

import trio


def processes_of(task_id: int) -> list[str]:
    """Every process of the task's runs that lives, whoever its parent is now: pid and command."""
    return processes_with(f"WEGENT_TASK_ID={task_id}")


def processes_with(variable: str) -> list[str]:
    """The same by any `NAME=value` of their environment."""
    mark = variable.encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(f"{folder.name} {(folder / 'cmdline').read_bytes().decode(errors='replace')}")
            except OSError:
                continue
    return found


async def none_left(task_id: int, seconds: float) -> None:
    with trio.fail_after(seconds):
        while processes_of(task_id):  # noqa: ASYNC110 - nobody tells when a process is gone that isn't ours
            await trio.sleep(0.01)
