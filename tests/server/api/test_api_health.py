"""Health, readiness and metrics."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wegent.core.errors import BrokerAway, StoreAway
from wegent.core.instruments import Registry
from wegent.core.ports.plugin import Provision
from wegent.server.api.metrics import Exposition
from wegent.server.api.plugin import ApiPlugin, PagePlugin


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_the_three_need_no_token_and_no_prefix(scene: Any, prefix: str) -> None:
    for name in ("health", "ready", "metrics"):
        assert (await scene.call("GET", f"{prefix}/{name}", token=None)).status == 200
    assert (await scene.call("GET", f"{prefix}/health", token=None)).json == {"status": "ok"}


async def test_ready_names_what_is_not(scene: Any) -> None:
    async def good() -> None:
        pass

    async def bad() -> None:
        raise StoreAway("the database does not answer")

    scene.health.add("fanout", good)
    assert (await scene.get("/ready")).json == {"ready": True, "details": {"fanout": "ok"}}
    scene.health.add("storage", bad)
    answer = await scene.get("/ready")
    assert answer.status == 503
    assert answer.json == {"ready": False, "details": {"fanout": "ok", "storage": "the database does not answer"}}


async def test_ready_tells_of_a_part_that_can_be_done_without(scene: Any) -> None:
    async def away() -> None:
        raise BrokerAway("Redis is away")

    scene.health.add("redis", away, vital=False)
    answer = await scene.get("/ready")
    assert (answer.status, answer.json) == (200, {"ready": True, "details": {"redis": "Redis is away"}})


async def test_a_draining_server_lives_and_is_not_ready(scene: Any) -> None:
    scene.health.draining = True
    assert (await scene.get("/ready")).status == 503
    assert (await scene.get("/health")).status == 200


def families(text: bytes) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


async def test_metrics_are_those_of_the_registry_and_the_process(scene: Any) -> None:
    scene.registry.counter("wegent_events_in", "Events from clients").add(3)
    answer = await scene.call("GET", "/metrics", token=None)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    found = families(answer.body)
    assert found["wegent_events_in"].samples[0].name == "wegent_events_in_total"
    assert found["wegent_events_in"].samples[0].value == 3
    assert "process_resident_memory_bytes" in found


def test_series_of_one_name_are_one_family() -> None:
    registry = Registry()
    registry.counter("a_runs", "Runs", outcome="done").add(2)
    registry.counter("b_other", "Between").add(1)
    registry.counter("a_runs", "Runs", outcome="failed", kind='x"\n').add(1)
    registry.gauge("c_open", "Open", lambda: 7.5, transport="raw")
    body, _ = Exposition(registry).text()
    assert body.count(b"# TYPE a_runs_total counter") == 1
    samples = {(s.labels["outcome"], s.labels["kind"]): s.value for s in families(body)["a_runs"].samples}
    assert samples == {("done", ""): 2.0, ("failed", 'x"\n'): 1.0}
    assert b'c_open{transport="raw"} 7.5' in body


def test_a_histogram_counts_upwards() -> None:
    registry = Registry()
    histogram = registry.histogram("wait_seconds", "Waits")
    histogram.bounds, histogram.counts = (0.5, 1.0), [0, 0, 0]
    for seconds in (0.25, 0.5, 0.75, 5.0):
        histogram.observe(seconds)
    samples = families(Exposition(registry).text()[0])["wait_seconds"].samples
    assert {s.labels["le"]: s.value for s in samples if s.name == "wait_seconds_bucket"} == {
        "0.5": 2.0,
        "1.0": 3.0,
        "+Inf": 4.0,
    }
    assert {s.name: s.value for s in samples if "le" not in s.labels} == {
        "wait_seconds_count": 4.0,
        "wait_seconds_sum": 6.5,
    }


def test_openmetrics_comes_to_who_asks_for_it() -> None:
    registry = Registry()
    registry.counter("a_runs", "Runs").add(2)
    body, content_type = Exposition(registry).text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


async def test_the_page_plugin_provides_routes(nursery: Any) -> None:
    provisions = await nursery.start(lambda task_status: PagePlugin().run(None, None, task_status=task_status))
    assert [type(each) for each in provisions] == [Provision]
    assert provisions[0].port in PagePlugin.provides
    assert ApiPlugin.provides == PagePlugin.provides
    nursery.cancel_scope.cancel()
