"""What a device does, shown where it was started: lines of what happened, and in a terminal the runs of the moment."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import nullcontext

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from wegent.cli.markdown_feed import clean
from wegent.client.monitor import Monitor, patience
from wegent.client.running import LocalRun
from wegent.core.model import EndingStatus

FRAME_S = 0.25
MOST_LINES = 1_000
"""Lines that wait to be written; older ones are dropped where nobody reads."""
LAST_WORDS_S = 1.0
MARKS = {EndingStatus.COMPLETED: "✔", EndingStatus.FAILED: "✘", EndingStatus.CANCELLED: "■"}
STYLES = {"✔": "green", "✘": "red", "■": "yellow", "!": "yellow"}


class DeviceView(Monitor):
    """Takes note in plain calls; `run` writes, in a thread, so that a terminal which is held delays no run."""

    __slots__ = ("_console", "_in_trouble", "_lines", "_runs", "_spinner", "_wake", "_who")

    def __init__(self, server: str, name: str, device_id: str, console: Console | None = None) -> None:
        """`console` is a terminal; without one, plain lines go to standard output."""
        self._who = f"{server} as {clean(name)} ({clean(device_id)})"
        self._console = console
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._runs: dict[tuple[int, int], LocalRun] = {}
        self._spinner = Spinner("dots", style="cyan")
        self._wake = trio.Event()
        self._in_trouble = False

    def connected(self) -> None:
        """The device is registered."""
        self._in_trouble = False
        self._say(f"Connected to {self._who}")

    def trouble(self, reason: str) -> None:
        """The server is away; said once, until it is back."""
        if not self._in_trouble:
            self._in_trouble = True
            self._say(f"! {clean(reason)}; trying again …")

    def began(self, run: LocalRun) -> None:
        """A run begins."""
        self._runs[run.key] = run
        self._say(f"▶ {_title(run)}")

    def ended(self, run: LocalRun) -> None:
        """A run is over."""
        self._runs.pop(run.key, None)
        ending, spent = run.ending, f"{run.reporter.length():,} characters in {trio.current_time() - run.began:.0f} s"
        if run.lost or ending is None:
            self._say(f"■ {_title(run)}: stopped, the server has taken it back")
        else:
            why = f": {clean(ending.error)}" if ending.error else ""
            unheard = "" if run.reporter.done else " (the server has not heard of it)"
            self._say(f"{MARKS[ending.status]} {_title(run)}: {ending.status.value}, {spent}{why}{unheard}")

    def stopping(self, runs: int, seconds: float) -> None:
        """The end was asked for."""
        self._say(patience(runs, seconds))

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        live = Live(console=self._console, auto_refresh=False, transient=True) if self._console else None
        with live or nullcontext():
            try:
                while True:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    await self._write(live)
                    while self._runs and live is not None:
                        await trio.sleep(FRAME_S)
                        await self._write(live)
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(LAST_WORDS_S):
                    await self._write(live)

    def _say(self, line: str) -> None:
        self._lines.append(line)
        self._wake.set()

    async def _write(self, live: Live | None) -> None:
        lines = list(self._lines)
        self._lines.clear()
        rows = [_row(run) for run in self._runs.values()]
        if live is None:
            await trio.to_thread.run_sync(_print, lines, abandon_on_cancel=True)
        else:
            await trio.to_thread.run_sync(self._draw, live, lines, rows, abandon_on_cancel=True)

    def _draw(self, live: Live, lines: list[str], rows: list[str]) -> None:
        for line in lines:
            live.console.print(Text(line, style=STYLES.get(line[0], "")), soft_wrap=True)
        self._spinner.update(text=Text("\n  ".join(rows), style="dim", overflow="ellipsis"))
        live.update(Group(self._spinner) if rows else Group(), refresh=True)


def _print(lines: list[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _title(run: LocalRun) -> str:
    title = " ".join(clean(run.job.title).split()) or "(no title)"
    return title if len(title) <= 60 else f"{title[:60]}…"


def _row(run: LocalRun) -> str:
    progress = run.reporter.value("progress").get("progress")
    parts = [_title(run), f"{run.reporter.length():,} characters"]
    parts += [f"{progress} %"] if progress is not None else []
    parts += [f"{run.reporter.unsent:,} not sent"] if run.reporter.unsent > 1_000 else []
    return " · ".join([*parts, f"{trio.current_time() - run.began:.0f} s"])
