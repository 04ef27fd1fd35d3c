"""Counts and times, kept as plain numbers; an exporter reads them through `Registry.collect`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attrs import frozen

Labels = Mapping[str, str]
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Counter:
    """A number that only grows. On hot paths add to `value` directly."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, n: float = 1) -> None:
        """Count `n` more."""
        self.value += n


class Histogram:
    """Observations by bucket; `bounds` are upper limits, inclusive."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, x: float) -> None:
        """Count one observation, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, x)] += 1
        self.total += x


@frozen
class Sample:
    """One series as an exporter sees it."""

    name: str
    help: str
    kind: str
    labels: Labels
    value: float | Histogram


class Registry:
    """All instruments of a process, by name and labels; asking twice gives the same one."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[str, str, Counter | Histogram]] = {}
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[str, Callable[[], float]]] = {}

    def counter(self, name: str, help: str, **labels: str) -> Counter:
        """A counter; `name` without the `_total` that exporters add."""
        _, _, found = self._series.setdefault((name, tuple(sorted(labels.items()))), (help, "counter", Counter()))
        assert isinstance(found, Counter)
        return found

    def histogram(self, name: str, help: str, **labels: str) -> Histogram:
        """A histogram of seconds."""
        _, _, found = self._series.setdefault((name, tuple(sorted(labels.items()))), (help, "histogram", Histogram()))
        assert isinstance(found, Histogram)
        return found

    def gauge(self, name: str, help: str, read: Callable[[], float], **labels: str) -> None:
        """A number that is read when it is asked for. The latest reader of a name and labels counts."""
        self._gauges[name, tuple(sorted(labels.items()))] = (help, read)

    def collect(self) -> Iterator[Sample]:
        """Every series with its present value, those of one name together."""
        yield from sorted(self._samples(), key=lambda sample: sample.name)

    def _samples(self) -> Iterable[Sample]:
        for (name, labels), (help_, kind, series) in self._series.items():
            value = series.value if isinstance(series, Counter) else series
            yield Sample(name, help_, kind, dict(labels), value)
        for (name, labels), (help_, read) in self._gauges.items():
            yield Sample(name, help_, "gauge", dict(labels), read())
