"""1: one room of a thousand members, tokens as fast as the server can."""

from __future__ import annotations

from bench import data
from bench.scenarios.base import Bench, Figures, Measure, Scenario, faults
from bench.servers import Running, Server

MEMBERS = 1000


class Fanout(Scenario):
    """Deliveries a second, and the CPU that a million of them costs."""

    number = 1
    title = "fan-out: 1 room x 1,000, unpaced"
    measures = (
        Measure("per_s", "tokens delivered/s"),
        Measure("messages_per_s", "messages/s"),
        Measure("cpu_per_million", "CPU s per million", higher_is_better=False, digits=2),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        seconds = 3.0 if bench.quick else 6.0
        with bench.running(server) as running:
            trial = self._watch(bench, running, count=40)
            trial = self._watch(bench, running, count=min(2000, max(40, trial["per_s"] / MEMBERS)))
            return self._watch(bench, running, count=min(40_000, max(40, trial["per_s"] / MEMBERS * seconds)))

    def _watch(self, bench: Bench, running: Running, count: float) -> Figures:
        result = bench.load.run(
            running, "watch", connections=MEMBERS, rooms=1, first_task=data.BIG_ROOM, count=int(count), rate=0, limit=60
        )
        streams = result["streams"]
        seconds = result["seconds"]
        return {
            "per_s": streams["tokens"] / seconds,
            "messages_per_s": streams["messages"] / seconds,
            "cpu_per_million": result["server_cpu"] / streams["tokens"] * 1e6 if streams["tokens"] else None,
            "load_share": result["load_cpu"] / seconds,
            "tokens": streams["tokens"],
            "expected": result["expected_tokens"],
            "seconds": seconds,
            **faults(streams),
        }
