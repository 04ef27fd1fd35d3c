"""6: two workers with one Redis, the streams made at one, their viewers at the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench import data, process
from bench.redis import redis_server
from bench.scenarios.base import Bench, Figures, Measure, Scenario, faults, whole
from bench.scenarios.streams import ROOMS, VIEWERS
from bench.servers import Place, Running, Server

RATE, LOW = 10.0, 2.0
"""Tokens/s a room: what two workers and a Redis on one core manage of Node and of us, and what of everybody."""
WARM = 5.0
"""Seconds until all streams have begun; not measured."""


class TwoWorkers(Scenario):
    """CPU of both workers, and of Redis, for what is delivered; and what one worker takes without Redis.

    All three share a core, so that rates say little. At the higher rate python-socketio would fall behind.
    """

    number = 6
    title = "two workers, one Redis: 500 rooms x 2 viewers at the other worker"
    measures = (
        Measure("cpu_per_million", f"CPU s per million, {RATE:g} tokens/s a room", higher_is_better=False, digits=1),
        Measure("redis_per_million", "of Redis, s per million", higher_is_better=False, digits=1),
        Measure("p99_ms", "p99, ms", higher_is_better=False, digits=1),
        Measure("cpu_at_low", f"CPU s per million, {LOW:g} tokens/s a room", higher_is_better=False, digits=1),
        Measure("redis_at_low", "of Redis, s per million", higher_is_better=False, digits=1),
        Measure("to_alone", "CPU to that of one worker without Redis", higher_is_better=False, digits=2),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        low = self._pair(bench, server, LOW)
        figures = {"cpu_at_low": low["cpu"], "redis_at_low": low["redis"], "at_low": low}
        if server.name == "python-socketio":
            return {**figures, "p99_ms": low["p99_ms"], "complete": low["complete"]}
        high, alone = self._pair(bench, server, RATE), self._alone(bench, server, RATE)
        return {
            **figures,
            **high,
            "cpu_per_million": high["cpu"],
            "redis_per_million": high["redis"],
            "alone": alone,
            "to_alone": high["cpu"] / alone["cpu"],
        }

    def _pair(self, bench: Bench, server: Server, rate: float) -> Figures:
        with pair(bench, server) as (first, second, redis):
            return _watch(bench, second, rate, [first.pid, second.pid], redis, first_port=first.port)

    def _alone(self, bench: Bench, server: Server, rate: float) -> Figures:
        with bench.running(server) as running:
            return _watch(bench, running, rate, [running.pid], None)


@contextmanager
def pair(bench: Bench, server: Server) -> Iterator[tuple[Running, Running, int]]:
    """Two workers that share rows and a Redis, whose process id comes with them."""
    first, second = (bench.folder / f"{server.name}-{which}" for which in ("first", "second"))
    with (
        redis_server(bench.folder) as (url, redis),
        server.running(Place(first, redis=url)) as one,
        server.running(Place(second, redis=url, rows=first)) as two,
        bench.watched(one.pid, two.pid, redis),
    ):
        bench.commands.setdefault(f"{server.name}, second worker", two.command)
        yield one, two, redis


def _watch(
    bench: Bench, viewed: Running, rate: float, workers: list[int], redis: int | None, **options: float
) -> Figures:
    """Stream at that rate; CPU seconds per million tokens delivered in the window, of the workers and of Redis."""
    seconds = 4.0 if bench.quick else 8.0
    seen: dict[str, tuple[float, float]] = {}

    def look(phase: str) -> None:
        seen[phase] = sum(map(process.cpu, workers)), process.cpu(redis) if redis else 0.0

    if viewed.name == "wegent":
        options = {**options, "runs": True}
    result = bench.load.run(
        viewed, "watch", look, connections=ROOMS * VIEWERS, rooms=ROOMS, first_task=data.FIRST_STREAMED, rate=rate,
        count=int(rate * (WARM + seconds + 2)), warm=WARM, seconds=seconds, window=True, limit=WARM + seconds + 8,
        **options,
    )  # fmt: skip
    streams, millions = result["streams"], result["window_tokens"] / 1e6
    cpu, redis_cpu = (b - a for a, b in zip(seen["steady"], seen["over"], strict=True))
    return {
        "offered": rate,
        "cpu": cpu / millions,
        "redis": redis_cpu / millions,
        "cpu_share": (cpu + redis_cpu) / seconds,
        "p99_ms": streams["latency_ms"]["p99"],
        "complete": result["finished"] == result["watchers"] == ROOMS * VIEWERS and whole(streams),
        "messages": streams["messages"],
        **faults(streams),
    }
