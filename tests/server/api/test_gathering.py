"""Figures of several workers are added up; a worker that is not ready does not make the others so."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wegent.core.instruments import Registry
from wegent.server.api.gathering import all_ready
from wegent.server.api.metrics import Exposition
from wegent.server.ports.siblings import Answer


def worker(count, seconds):
    registry = Registry()
    registry.counter("wegent_events", "Events", kind="a").add(count)
    registry.histogram("wegent_wait_seconds", "Waits").observe(seconds)
    registry.gauge("wegent_there", "There", lambda: 1.0)
    return Exposition(registry)


def values(text):
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_counters_gauges_and_histograms_are_added_up():
    own, other = worker(2, 0.1), worker(3, 100.0)
    found = values(own.text_of_all([Answer("other", 200, other.text()[0])])[0].decode())
    assert found["wegent_events_total", "a"] == 5
    assert found["wegent_there",] == 2
    assert found["wegent_wait_seconds_count",] == 2
    assert found["wegent_wait_seconds_sum",] == pytest.approx(100.1)
    assert found["wegent_wait_seconds_bucket", "+Inf"] == 2


def test_an_answer_that_is_none_is_left_out():
    found = values(worker(2, 0.1).text_of_all([Answer("other", 503, b"{")])[0].decode())
    assert found["wegent_events_total", "a"] == 2


@pytest.mark.parametrize(
    ("own", "status", "body", "ready", "word"),
    [
        (True, 200, b"{}", True, "ready"),
        (True, 503, b'{"details": {"storage": "away"}}', True, {"storage": "away"}),
        (False, 200, b"{}", True, "ready"),
        (False, 503, b"<html>", False, "not ready"),
        (False, 503, b"[]", False, "not ready"),
    ],
)
def test_one_ready_worker_is_enough(own, status, body, ready, word):
    found = all_ready((own, {}), [Answer("2-x", status, body)])
    assert (found["ready"], found["workers"]) == (ready, {"2-x": word})


def test_a_worker_alone_names_no_others():
    assert all_ready((True, {"storage": "ok"}), []) == {"ready": True, "details": {"storage": "ok"}}
