"""3: echo with ack; 4: a storm of connections; 5: connections that do nothing."""

from __future__ import annotations

import time

from bench import data
from bench.process import Memory
from bench.scenarios.base import Bench, Figures, Measure, Scenario
from bench.servers import Server


class Echo(Scenario):
    """Each of 200 clients has one event under way and sends the next when its ack is there."""

    number = 3
    title = "echo with ack: 200 clients"
    measures = (
        Measure("per_s", "requests/s"),
        Measure("p99_ms", "p99, ms", higher_is_better=False, digits=1),
        Measure("cpu_us", "CPU us a request", higher_is_better=False, digits=1),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        seconds = 4.0 if bench.quick else 8.0
        with bench.running(server) as running:
            result = bench.load.run(
                running, "echo", connections=200, rooms=200, first_task=data.FIRST_TASK, warm=1.5, seconds=seconds
            )
        return {
            "per_s": result["per_s"],
            "p50_ms": result["latency_ms"]["p50"],
            "p99_ms": result["latency_ms"]["p99"],
            "cpu_us": result["server_cpu"] / max(result["with_warming"], 1) * 1e6,
            "wrong": result["wrong"],
            "cpu_share": result["server_cpu"] / result["seconds"],
            "load_share": result["load_cpu"] / result["seconds"],
        }


class Storm(Scenario):
    """3,000 clients connect, authenticate and join, 100 of them at once under way."""

    number = 4
    title = "storm: 3,000 connect, authenticate, join"
    measures = (
        Measure("per_s", "joined/s"),
        Measure("p99_ms", "p99 from connect to joined, ms", higher_is_better=False, digits=1),
        Measure("cpu_us", "CPU us each", higher_is_better=False),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        with bench.running(server) as running:
            bench.load.run(running, "idle", connections=300, rooms=300, first_task=data.FIRST_TASK, seconds=0)
            result = bench.load.run(
                running, "idle", connections=3000, rooms=500, first_task=data.FIRST_TASK, concurrency=100, seconds=0
            )
        opened = result["open"]
        return {
            "per_s": opened["per_s"],
            "p99_ms": opened["whole_ms"]["p99"],
            "join_p99_ms": opened["join_ms"]["p99"],
            "failed": opened["failed"],
            "cpu_us": opened["server_cpu"] / max(opened["joined"], 1) * 1e6,
        }


class Idle(Scenario):
    """5,000 connections that have joined: what each holds, and what the pings cost."""

    number = 5
    title = "idle: 5,000 joined connections"
    connections = 5000
    measures = (
        Measure("pss_kb", "KB each (proportional set)", higher_is_better=False, digits=1),
        Measure("rss_kb", "KB each (resident set)", higher_is_better=False, digits=1),
        Measure("ping_us", "CPU us a ping", higher_is_better=False, digits=1),
    )

    def measure(self, bench: Bench, server: Server) -> Figures:
        seconds = 26.0 if bench.quick else 52.0
        seen: list[Memory] = []

        def look(phase: str) -> None:
            if phase == "joined":
                time.sleep(2)
                seen.append(running.memory())

        with bench.running(server) as running:
            bench.load.run(running, "idle", connections=200, rooms=200, first_task=data.FIRST_TASK, seconds=0)
            time.sleep(1)
            before = running.memory()
            result = bench.load.run(
                running,
                "idle",
                look,
                connections=self.connections,
                rooms=500,
                first_task=data.FIRST_TASK,
                seconds=seconds,
            )
        joined = max(result["open"]["joined"], 1)
        return {
            "pss_kb": (seen[0].pss - before.pss) / joined / 1024,
            "rss_kb": (seen[0].rss - before.rss) / joined / 1024,
            "kernel_kb": (seen[0].kernel - before.kernel) / joined / 1024,
            "ping_us": result["server_cpu"] / (joined * (seconds // 25)) * 1e6,
            "joined": result["open"]["joined"],
            "closed": result["closed"],
        }
