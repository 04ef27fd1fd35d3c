"""2: five hundred rooms of two viewers, paced; and 9: the same with readers that never read."""

from __future__ import annotations

from bench import data
from bench.process import Memory
from bench.scenarios.base import Bench, Figures, Measure, Scenario, faults, whole
from bench.scenarios.search import highest, tried
from bench.servers import Running, Server

ROOMS, VIEWERS = 500, 2
P99_MS = 100
SHOWN = (20, 50, 100, 200)  # rates whose p99 is told for every server
LADDER = (1, 2, 3, 4, 5, 7, *range(10, 50, 5), *range(50, 200, 10), *range(200, 400, 20), *range(400, 1001, 50))
GUESSES = {"python-socketio": 20.0, "node": 110.0, "wegent": 400.0, "c": 110.0}


def background(server: Server) -> float:
    """Return a rate (tokens/s and room) that the server manages easily, for scenarios that look at something else."""
    return 2.0 if server.name == "python-socketio" else 20.0


class Streams(Scenario):
    """The highest rate at which 99 of 100 tokens are with their reader within 100 ms, and none is lost."""

    number = 2
    title = "many streams: 500 rooms x 2"
    measures = (
        Measure("rate", "highest tokens/s a room, p99 < 100 ms"),
        Measure("p99_ms", "p99 there, ms", higher_is_better=False, digits=1),
        Measure("cpu_per_million", "CPU s per million there", higher_is_better=False, digits=2),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        probes: dict[float, Figures] = {}

        def passes(rate: float) -> bool:
            probes[rate] = tried(lambda: self._probe(bench, server, rate))
            return bool(probes[rate]["passes"])

        first = ("streams", server.name) not in bench.hints
        best = highest(LADDER, passes, bench.hint("streams", server, GUESSES.get(server.name, 40.0)))
        bench.hints["streams", server.name] = best
        if first and not bench.quick:
            for rate in SHOWN:
                if rate not in probes:
                    passes(rate)
        at_best = probes.get(best, {"p99_ms": None, "cpu_per_million": None})
        return {
            "rate": best,
            "p99_ms": at_best["p99_ms"],
            "cpu_per_million": at_best["cpu_per_million"],
            "probes": [probes[rate] for rate in sorted(probes)],
        }

    def _probe(self, bench: Bench, server: Server, rate: float) -> Figures:
        seconds = 3.0 if bench.quick else 7.0
        with bench.running(server) as running:
            return watch(bench, running, rate, seconds)


def watch(bench: Bench, running: Running, rate: float, seconds: float) -> Figures:
    """Stream for so long into all rooms; the first second is left out of the latencies."""
    result = bench.load.run(
        running, "watch", connections=ROOMS * VIEWERS, rooms=ROOMS, first_task=data.FIRST_TASK,
        count=int(rate * (seconds + 1)), rate=rate, warm=1, limit=seconds + 3,
    )  # fmt: skip
    streams = result["streams"]
    complete = result["finished"] == result["watchers"] == ROOMS * VIEWERS and whole(streams)
    p99 = streams["latency_ms"]["p99"]
    return {
        "offered": rate,
        "per_s": streams["tokens"] / max(streams["seconds"], 0.001),
        "p50_ms": streams["latency_ms"]["p50"],
        "p99_ms": p99,
        "complete": complete,
        "passes": complete and p99 is not None and p99 < P99_MS,
        "cpu_per_million": result["server_cpu"] / streams["tokens"] * 1e6 if streams["tokens"] else None,
        "cpu_share": result["server_cpu"] / result["seconds"],
        "load_share": result["load_cpu"] / result["seconds"],
        **faults(streams),
    }


class SlowReaders(Scenario):
    """Each viewer gets 40 KB/s; then again while 1 reader in 10 never reads.

    Long tokens, so that what waits for a slow reader soon exceeds what the kernel takes for it.
    """

    number = 9
    title = "slow readers: 1 in 10 never reads"
    measures = (
        Measure("p99_without_ms", "p99 without them, ms", higher_is_better=False, digits=1),
        Measure("p99_ms", "p99 with them, ms", higher_is_better=False, digits=1),
        Measure("grown_kb", "server memory grown for each of them, KB", higher_is_better=False),
        Measure("closed", "of them closed by the server", digits=0),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        without, with_them = self._figures(bench, server, every=0), self._figures(bench, server, every=10)
        slow = ROOMS * VIEWERS / 10
        return {
            "p99_without_ms": without["p99_ms"],
            "complete_without": without["complete"],
            "grown_kb": (with_them.pop("grown") - without["grown"]) / slow / 1024,
            "kernel_kb": (with_them.pop("kernel") - without["kernel"]) / slow / 1024,
            **with_them,
        }

    def _figures(self, bench: Bench, server: Server, every: int) -> Figures:
        with bench.running(server) as running:
            result, before, after = self._watch(bench, server, running, every)
        return {
            "p99_ms": result["streams"]["latency_ms"]["p99"],
            "grown": after.pss - before.pss,
            "kernel": after.kernel - before.kernel,
            "complete": result["finished"] == result["watchers"] and whole(result["streams"]),
            "closed": result["closed"],
        }

    def _watch(self, bench: Bench, server: Server, running: Running, every: int) -> tuple[Figures, Memory, Memory]:
        seconds = 12.0 if bench.quick else 20.0
        rate, size = (3.0, 13_000) if server.name == "python-socketio" else (10.0, 4_000)
        seen: list[Memory] = []
        result = bench.load.run(
            running, "watch", lambda _: seen.append(running.memory()), connections=ROOMS * VIEWERS, rooms=ROOMS,
            first_task=data.FIRST_TASK, count=int(rate * (seconds + 1)), rate=rate, size=size, warm=1,
            limit=seconds + 4, slow_every=every, receive_buffer=4096,
        )  # fmt: skip
        return result, seen[0], seen[-1]
