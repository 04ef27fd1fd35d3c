"""Runs scenarios: servers in turn, the median of the rounds, one table, one file of results."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import build, data, process, table
from bench.loadgen import Load
from bench.scenarios import SCENARIOS
from bench.scenarios.base import Bench
from bench.servers import Server, everybody

NOISE = 0.1
Results = dict[int, dict[str, list[dict[str, Any]]]]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--scenarios", default=",".join(map(str, SCENARIOS)), help="numbers, with commas")
    parser.add_argument("--servers", default="", help="names, with commas; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="shorter measurements, for a first look")
    parser.add_argument("--out", type=Path, help="write all figures here, as JSON")
    return parser.parse_args(arguments)


def chosen_servers(names: str) -> list[Server]:
    known = {server.name: server for server in everybody()}
    wanted = names.split(",") if names else list(known)
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"unknown servers: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def measure_all(bench: Bench, numbers: Sequence[int], servers: Sequence[Server], rounds: int) -> Results:
    """Take the servers in turn within each round, so that what the machine does besides meets all of them."""
    results: Results = {}
    for number in numbers:
        scenario = SCENARIOS[number]
        for turn in range(rounds):
            for server in servers:
                if number not in (server.scenarios & server.quick if bench.quick else server.scenarios):
                    continue
                began = time.monotonic()
                bench.foreign = 0.0
                figures = {**_guarded(bench, number, server), "foreign_share": round(bench.foreign, 3)}
                results.setdefault(number, {}).setdefault(server.name, []).append(figures)
                shown = _brief({m.key: figures.get(m.key) for m in scenario.measures})
                noise = f", others had {bench.foreign:.0%} of its core" if bench.foreign > NOISE else ""
                took = time.monotonic() - began
                print(f"  {number} round {turn + 1} {server.name}: {shown}{noise} ({took:.0f} s)", file=sys.stderr)
    return results


def _guarded(bench: Bench, number: int, server: Server) -> dict[str, Any]:
    try:
        return SCENARIOS[number].measure(bench, server)
    except Exception as error:  # one server that fails must not lose the figures of the others
        print(f"  {number} {server.name} failed: {error!r}", file=sys.stderr)
        return {"failure": repr(error)}


def _brief(figures: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:,.1f}" if isinstance(v, (int, float)) else f"{k} {v}" for k, v in figures.items())


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    numbers = [int(n) for n in options.scenarios.split(",")]
    servers = chosen_servers(options.servers)
    process.allow_many_files()
    build.everything()
    with tempfile.TemporaryDirectory(prefix="wegent-bench-") as name:
        folder = Path(name)
        data.write_tokens(folder / "tokens")
        bench = Bench(Load(folder / "tokens"), folder, options.quick)
        results = measure_all(bench, numbers, servers, options.rounds)
    medians = {
        n: {s: table.medians(r, SCENARIOS[n].measures) for s, r in found.items()} for n, found in results.items()
    }
    print(table.render((SCENARIOS[n] for n in numbers), medians, [s.name for s in servers]))
    for line in table.missed(medians):
        print(f"missed: {line}")
    if options.out:
        options.out.write_text(json.dumps(report(options, bench, results, medians), indent=1) + "\n")
    return 0


def report(options: argparse.Namespace, bench: Bench, results: Results, medians: dict[int, Any]) -> dict[str, Any]:
    return {
        "command": ["python", "-m", "bench", *sys.argv[1:]],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": options.rounds,
        "quick": options.quick,
        "versions": build.versions(),
        "servers": bench.commands,
        "medians": medians,
        "missed": table.missed(medians),
        "figures": results,
    }
