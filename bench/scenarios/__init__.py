"""One module a scenario: each measures one server once."""

from bench.scenarios.base import Measure, Scenario
from bench.scenarios.catalogue import SCENARIOS

__all__ = ["SCENARIOS", "Measure", "Scenario"]
