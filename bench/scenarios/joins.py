"""8: clients join a stream of 200 KB that is under way, 200 a second, while others watch theirs."""

from __future__ import annotations

from bench import data
from bench.scenarios.base import Bench, Figures, Measure, Scenario, faults, whole
from bench.scenarios.streams import ROOMS, VIEWERS, background
from bench.servers import Running, Server

JOINS_PER_S, TEXT = 200, 165_000  # it grows by 2 KB/s up to some 200 KB


class Joins(Scenario):
    """The ack of each join carries the text so far; what follows must begin exactly at its end."""

    number = 8
    title = "join and resume: 200 KB in flight, 200 joins/s"
    measures = (
        Measure("join_p99_ms", "p99 of the ack, ms", higher_is_better=False, digits=1),
        Measure("joined", "joined"),
        Measure("p99_without_ms", "p99 of the others, without joins, ms", higher_is_better=False, digits=1),
        Measure("p99_ms", "p99 of the others, with joins, ms", higher_is_better=False, digits=1),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        with bench.running(server) as running:
            alone, _ = self._run(bench, server, running, joins=0.0)
        with bench.running(server) as running:
            watched, joined = self._run(bench, server, running, joins=float(JOINS_PER_S))
        return {
            "p99_without_ms": alone["streams"]["latency_ms"]["p99"],
            "p99_ms": watched["streams"]["latency_ms"]["p99"],
            "complete": watched["finished"] == watched["watchers"] and whole(watched["streams"]),
            "join_p50_ms": joined["join_ms"]["p50"],
            "join_p99_ms": joined["join_ms"]["p99"],
            "joined": joined["joined"],
            "short_acks": joined["short_acks"],
            **faults(joined["streams"]),
        }

    def _run(self, bench: Bench, server: Server, running: Running, joins: float) -> tuple[Figures, Figures]:
        seconds, rate = (5.0 if bench.quick else 10.0), background(server)
        watching = bench.load.begin(
            running, "watch", connections=ROOMS * VIEWERS, rooms=ROOMS, first_task=data.FIRST_TASK, rate=rate, warm=4,
            count=int(rate * (seconds + 4)), limit=seconds + 8,
        )  # fmt: skip
        joining = bench.load.begin(
            running, "joins", connections=1, rooms=1, first_task=data.BIG_ROOM, rate=joins, seconds=seconds, warm=4,
            count=20 * int(seconds + 30), preload=TEXT, limit=seconds + 10, size=100,
        )  # fmt: skip
        joined = bench.load.finish(joining)
        return bench.load.finish(watching), joined
