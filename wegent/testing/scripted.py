"""An executor that plays scripts, and remembers what it wrote: the engine's own record, to be compared with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio
from attrs import field, frozen

from wegent.core.model import CONTENT, THINKING, Job, Outcome, StreamId
from wegent.core.ports.executor import Executor, Sink
from wegent.core.text import clean

Step = Callable[[Sink, "Written"], Awaitable[None]]
"""One thing that a script does."""


@frozen
class Written:
    """What one attempt wrote, as it was handed to the sink; a call that was cancelled counts as well.

    `blocks` holds the newest merged state of each block by id, without `version`, `at` and `timestamp`.
    """

    texts: dict[str, list[str]] = field(factory=dict)
    blocks: dict[str, dict[str, Any]] = field(factory=dict)
    places: dict[str, int] = field(factory=dict)

    def add(self, channel: str, delta: str) -> None:
        """Note a delta."""
        self.texts.setdefault(channel, []).append(delta)

    @property
    def content(self) -> str:
        """The content channel, as the log should have it."""
        return clean("".join(self.texts.get(CONTENT, ())))

    @property
    def place(self) -> int:
        """The offset at which a block stands that is set now; half of a surrogate pair does not count yet."""
        text = "".join(self.texts.get(CONTENT, ()))
        return len(clean(text[:-1] if "\ud800" <= text[-1:] <= "\udbff" else text))

    @property
    def thinking(self) -> str:
        """The thinking channel."""
        return clean("".join(self.texts.get(THINKING, ())))


def say(delta: str) -> Step:
    """Write text."""

    async def step(sink: Sink, written: Written) -> None:
        written.add(CONTENT, delta)
        await sink.text(delta)

    return step


def think(delta: str) -> Step:
    """Write thinking."""

    async def step(sink: Sink, written: Written) -> None:
        written.add(THINKING, delta)
        await sink.thinking(delta)

    return step


def block(block_id: str, **fields: Any) -> Step:
    """Set a block."""

    async def step(sink: Sink, written: Written) -> None:
        written.places.setdefault(block_id, written.place)
        written.blocks.setdefault(block_id, {"id": block_id}).update(fields)
        await sink.block({"id": block_id, **fields})

    return step


def progress(percent: int) -> Step:
    """Tell how far it is."""

    async def step(sink: Sink, written: Written) -> None:
        await sink.progress(percent)

    return step


def wait(seconds: float) -> Step:
    """Think in silence."""

    async def step(sink: Sink, written: Written) -> None:
        await trio.sleep(seconds)

    return step


def wait_for(event: trio.Event) -> Step:
    """Wait until a test says so."""

    async def step(sink: Sink, written: Written) -> None:
        await event.wait()

    return step


def fail(error: Exception) -> Step:
    """Raise."""

    async def step(sink: Sink, written: Written) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return step


def linger(seconds: float, *steps: Step) -> Step:
    """Do `steps`; cancelled, do the rest of them all the same, for so many seconds at most."""

    async def step(sink: Sink, written: Written) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(seconds):
            for each in steps:
                await each(sink, written)
        await trio.lowlevel.checkpoint()

    return step


class ScriptedExecutor(Executor):
    """Plays, for each job, the script of its prompt; `default` where there is none.

    `written` is the record of every attempt; `finished` of those whose script came to its end.
    """

    def __init__(self, scripts: Mapping[str, Sequence[Step]] | None = None, default: Sequence[Step] = ()) -> None:
        self.scripts: dict[str, Sequence[Step]] = dict(scripts or {})
        self.default = default
        self.written: dict[StreamId, Written] = {}
        self.running = 0
        self.most_running = 0
        self.jobs: list[Job] = []

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Play the script."""
        self.jobs.append(job)
        written = self.written[job.stream] = Written()
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for step in self.scripts.get(job.spec.prompt, self.default):
                await step(sink, written)
        finally:
            self.running -= 1
        return Outcome()
