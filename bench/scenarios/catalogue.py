"""All scenarios by number."""

from __future__ import annotations

from bench.scenarios.base import Scenario
from bench.scenarios.chat import Send, WholeWay
from bench.scenarios.connections import Echo, Idle, Storm
from bench.scenarios.fanout import Fanout
from bench.scenarios.joins import Joins
from bench.scenarios.pairs import TwoWorkers
from bench.scenarios.streams import SlowReaders, Streams

SCENARIOS: dict[int, Scenario] = {
    scenario.number: scenario
    for scenario in (
        *(Fanout(), Streams(), Echo(), Storm(), Idle(), TwoWorkers(), WholeWay(), Joins(), SlowReaders(), Send()),
    )
}
