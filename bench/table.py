"""The table: every figure of every server, and ours as a ratio to each peer, with the floors."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench import floors
from bench.scenarios import Measure, Scenario

OURS = "wegent"
Figures = Mapping[str, Any]


def medians(rounds: Sequence[Figures], measures: Iterable[Measure]) -> dict[str, float | None]:
    """Return the median of each measure over the rounds that have it."""
    found: dict[str, float | None] = {}
    for measure in measures:
        values = [r[measure.key] for r in rounds if r.get(measure.key) is not None]
        found[measure.key] = statistics.median(values) if values else None
    return found


def render(scenarios: Iterable[Scenario], results: Mapping[int, Mapping[str, Figures]], names: Sequence[str]) -> str:
    """Make a Markdown table. `results[scenario][server]` holds medians; a floor that is missed is marked."""
    peers = [name for name in names if name != OURS]
    head = ["", *names, *(f"to {peer}" for peer in peers)]
    lines = [_row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    for scenario in scenarios:
        found = results.get(scenario.number, {})
        if not found:
            continue
        lines.append(_row([f"**{scenario.number}. {scenario.title}**"] + [""] * (len(head) - 1)))
        for measure in scenario.measures:
            values = [_number(found.get(name, {}).get(measure.key), measure.digits) for name in names]
            ratios = [_ratio(scenario.number, measure, found, peer) for peer in peers]
            lines.append(_row([measure.label, *values, *ratios]))
    return "\n".join(lines)


def missed(results: Mapping[int, Mapping[str, Figures]]) -> list[str]:
    """Name each floor that was measured and not reached."""
    return [
        f"scenario {f.scenario}: {f.key} is {r:.2f} x that of {f.against}, to be {f}"
        for f in floors.FLOORS
        if (r := ratio(results.get(f.scenario, {}), f.key, f.against)) is not None and not f.reached(r)
    ]


def ratio(found: Mapping[str, Figures], key: str, peer: str) -> float | None:
    ours, theirs = found.get(OURS, {}).get(key), found.get(peer, {}).get(key)
    return ours / theirs if ours is not None and theirs else None


def _ratio(number: int, measure: Measure, found: Mapping[str, Figures], peer: str) -> str:
    value, floor = ratio(found, measure.key, peer), floors.find(number, measure.key, peer)
    if value is None:
        return ""
    text = f"{value:.2f} x" if value < 10 else f"{value:.0f} x"
    if floor is None:
        return text
    return f"{text} ({floor})" if floor.reached(value) else f"{text} ({floor}) **missed**"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
