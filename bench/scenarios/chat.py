"""7: the whole way from a model to two viewers; and 10: messages through the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import build, data, process
from bench.scenarios.base import Bench, Figures, Measure, Scenario, faults, whole
from bench.scenarios.search import highest, tried
from bench.servers import Server

TOKENS_PER_S, TOKEN_SIZE = 50, 20
P99_MS = 100
LADDER = (
    *(5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90, 100, 110, 120, 140, 160, 180, 200),
    *(225, 250, 275, 300, 350, 400, 450, 500, 600, 700, 800, 1000),
    *(1200, 1400, 1600, 1800),
)
GUESSES = {"python-socketio": 90.0, "node": 700.0, "wegent": 1000.0}


@contextmanager
def model_server(tokens: int) -> Iterator[str]:
    """Keep a model server running that answers each request with so many tokens; gives its base URL."""
    port = process.free_port()
    command: list[str | Path] = [build.MODEL, str(port), str(tokens), str(TOKENS_PER_S), str(TOKEN_SIZE)]
    child = process.spawn(command, process.LOAD_CORE)
    try:
        process.wait_for_port(port, child)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.stop(child)


class WholeWay(Scenario):
    """How many tasks one core carries while 99 of 100 tokens reach their reader within 100 ms of the model's write."""

    number = 7
    title = "the whole way: model to 2 viewers, 50 tokens/s a task"
    measures = (
        Measure("tasks", "most tasks a core, p99 < 100 ms"),
        Measure("p99_ms", "p99 there, ms", higher_is_better=False, digits=1),
        Measure("cpu_per_million", "CPU s per million deliveries there", higher_is_better=False, digits=1),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        probes: dict[float, Figures] = {}

        def passes(tasks: float) -> bool:
            probes[tasks] = tried(lambda: self._probe(bench, server, int(tasks)))
            return bool(probes[tasks]["passes"])

        best = highest(LADDER, passes, bench.hint("chat", server, GUESSES.get(server.name, 100.0)))
        bench.hints["chat", server.name] = best
        at_best = probes.get(best, {"p99_ms": None, "cpu_per_million": None})
        return {
            "tasks": best,
            "p99_ms": at_best["p99_ms"],
            "cpu_per_million": at_best["cpu_per_million"],
            "probes": [probes[tasks] for tasks in sorted(probes)],
        }

    def _probe(self, bench: Bench, server: Server, tasks: int) -> Figures:
        ramp, warm, seconds = (1.5, 0.5, 4.0) if bench.quick else (3.0, 1.0, 7.0)
        tokens = int((ramp + warm + seconds + 0.5) * TOKENS_PER_S)
        with model_server(tokens) as model, bench.running(server, model) as running:
            result = bench.load.run(
                running, "chat", connections=2 * tasks, rooms=tasks, first_task=data.FIRST_TASK, size=TOKEN_SIZE,
                ramp=ramp, warm=warm, seconds=seconds, count=tokens, limit=ramp + tokens / TOKENS_PER_S + 5,
            )  # fmt: skip
        streams = result["streams"]
        complete = result["whole"] == result["endings"] == 2 * tasks and whole(streams) and not result["failed"]
        p99 = streams["latency_ms"]["p99"]
        return {
            "offered": tasks,
            "p50_ms": streams["latency_ms"]["p50"],
            "p99_ms": p99,
            "complete": complete,
            "passes": complete and p99 is not None and p99 < P99_MS,
            "messages": streams["messages"],
            "tokens": streams["tokens"],
            "cpu_per_million": result["server_cpu"] / streams["tokens"] * 1e6 if streams["tokens"] else None,
            "cpu_share": result["server_cpu"] / result["seconds"],
            "endings": result["endings"],
            "failed": result["failed"],
            "load_share": result["load_cpu"] / result["seconds"],
            **faults(streams),
        }


class Send(Scenario):
    """50 clients send a message each, and the next when its ack is there; a second client of each task sees them."""

    number = 10
    title = "through the database: chat:send, 50 clients"
    senders = 50
    measures = (
        Measure("per_s", "sends/s"),
        Measure("p99_ms", "p99, ms", higher_is_better=False, digits=1),
        Measure("cpu_us", "CPU us a send", higher_is_better=False),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        seconds = 4.0 if bench.quick else 8.0
        with bench.running(server) as running:
            result = bench.load.run(
                running, "send", connections=2 * self.senders, rooms=self.senders, first_task=data.FIRST_GROUP, warm=1,
                seconds=seconds,
            )  # fmt: skip
        return {
            "per_s": result["per_s"],
            "p50_ms": result["latency_ms"]["p50"],
            "p99_ms": result["latency_ms"]["p99"],
            "cpu_us": result["server_cpu"] / max(result["with_warming"], 1) * 1e6,
            "refused": result["refused"],
            "seen": result["messages_seen"],
            "cpu_share": result["server_cpu"] / result["seconds"],
        }
