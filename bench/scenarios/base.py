"""What all scenarios have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from bench import process
from bench.loadgen import Load
from bench.servers import Place, Running, Server

Figures = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """A figure that goes into the table."""

    key: str
    label: str
    higher_is_better: bool = True
    digits: int = 0


@dataclass
class Bench:
    """What a scenario works with."""

    load: Load
    folder: Path
    quick: bool
    hints: dict[tuple[str, str], float] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)
    foreign: float = 0.0  # the greatest share that others had of the server's core, since it was last set to 0

    def hint(self, scenario: str, server: Server, default: float) -> float:
        """Return where an earlier round's search ended, to begin there."""
        return self.hints.get((scenario, server.name), default)

    @contextmanager
    def running(self, server: Server, model: str = "") -> Iterator[Running]:
        with server.running(Place(self.folder / server.name, model)) as running:
            self.commands.setdefault(server.name, running.command)
            with self.watched(running.pid):
                yield running

    @contextmanager
    def watched(self, *pids: int) -> Iterator[None]:
        """Take note of what others than these do on the servers' core."""
        began, busy = time.monotonic(), process.core_busy(process.SERVER_CORE) - sum(map(process.cpu, pids))
        yield
        others = process.core_busy(process.SERVER_CORE) - sum(map(process.cpu, pids)) - busy
        self.foreign = max(self.foreign, others / (time.monotonic() - began))


class Scenario(ABC):
    """One scenario. `measure` measures one server once and returns its figures."""

    number: ClassVar[int]
    title: ClassVar[str]
    measures: ClassVar[tuple[Measure, ...]]

    @abstractmethod
    def measure(self, bench: Bench, server: Server) -> Figures: ...


def whole(streams: Mapping[str, Any]) -> bool:
    """Tell whether what arrived was in order, without loss, repeat or damage."""
    return not any(streams[key] for key in ("gaps", "lost", "repeats", "malformed"))


def faults(streams: Mapping[str, Any]) -> Figures:
    return {key: streams[key] for key in ("gaps", "lost", "repeats", "malformed")}
