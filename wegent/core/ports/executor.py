"""Where a run's work is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from wegent.core.model import Job, Outcome


class Sink(ABC):
    """Where a runner says what it has to say; what it writes reaches the log before any viewer (protocol law 1).

    A call returns when the entry is in the run's pending batch: one append to the log is in flight per stream, what
    comes meanwhile is joined into the next, and past 64 KB pending the call waits. Text is cleaned on the way in
    (lone surrogates and U+0000 become U+FFFD; a surrogate pair split over two deltas is joined). Every call is a
    checkpoint. A stream longer than its limit raises `RunFailed` of type `output_limit`.
    """

    __slots__ = ()

    @abstractmethod
    async def text(self, delta: str) -> None:
        """Append to the `content` channel. An empty delta is nothing."""

    @abstractmethod
    async def thinking(self, delta: str) -> None:
        """Append to the `thinking` channel."""

    def text_now(self, delta: str) -> bool:
        """`text` without waiting, for a plain step that reads for many. False: nothing was taken; await `text`."""
        del delta
        return False

    def thinking_now(self, delta: str) -> bool:
        """`thinking` without waiting, as `text_now`."""
        del delta
        return False

    @abstractmethod
    async def block(self, block: Mapping[str, Any]) -> None:
        """Set a block, replacing an older one of the same `id`; pending text goes first.

        Takes `id`, and what changed of `type`, `tool_name`, `tool_input`, `tool_output`, `status`; `version` and
        `at` (the content offset where it stands) are given by the sink where they are missing.
        """

    @abstractmethod
    async def progress(self, progress: int, message: str | None = None) -> None:
        """Tell how far the work is, 0 to 100."""

    @abstractmethod
    async def app(self, app: Mapping[str, Any]) -> None:
        """Tell of a running app's preview: `name`, `address`, `previewUrl`."""

    @abstractmethod
    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Ask the viewers of the task for something only a front end can do, and wait for the first answer.

        Raises:
            RunFailed: nobody answered in time, or the answer was a failure.
        """


class Executor(ABC):
    """Runs jobs of one kind of target. `recovers` says what a lost attempt can do: fail, rerun or resume."""

    __slots__ = ()
    many: ClassVar[bool] = True
    recovers: ClassVar[Literal["fail", "rerun", "resume"]] = "fail"

    @abstractmethod
    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Do the work, writing to the sink; return when it is done.

        Raising ends the run as FAILED with that error (a `RunFailed` names its type). Cancelled: stop the work in a
        shielded scope no longer than the grace, then let Cancelled go on.
        """

    async def reclaim(self) -> None:  # noqa: B027 - most executors leave nothing behind
        """Remove what an earlier life left behind; called at start and now and then."""
