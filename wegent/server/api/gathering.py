"""What all workers of a host say together: their figures added up, and whether one of them is ready."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from wegent.server.ports.siblings import Answer

NOT_ADDED = frozenset({"process_start_time_seconds", "process_max_fds"})
"""Figures of which the greatest counts."""


class Families:
    """Metric families that are added up, sample by sample."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}

    def add(self, exposition: str) -> None:
        """Add one worker's figures, in the text format."""
        for family in text_string_to_metric_families(exposition):
            self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            values = self._values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                known = values.get(key, 0.0)
                values[key] = max(known, sample.value) if family.name in NOT_ADDED else known + sample.value

    def collect(self) -> Iterable[Metric]:
        """All of them, as a collector gives them."""
        for name, family in self._families.items():
            family.samples = [Sample(each, dict(labels), value) for (each, labels), value in self._values[name].items()]
            yield family


def all_ready(own: tuple[bool, Mapping[str, str]], others: Iterable[Answer]) -> dict[str, Any]:
    """Whether a worker is ready, this one's details, and how the others are."""
    good, words = own
    states = {answer.worker: "ready" if answer.status == 200 else _details(answer.body) for answer in others}
    ready = good or "ready" in states.values()
    return {"ready": ready, "details": dict(words), **({"workers": states} if states else {})}


def _details(body: bytes) -> Any:
    try:
        return json.loads(body).get("details", "not ready")
    except (ValueError, AttributeError):
        return "not ready"
