"""The instruments as Prometheus reads them (protocol §11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from wegent.core.instruments import Histogram, Registry, Sample
from wegent.server.api.gathering import Families
from wegent.server.ports.siblings import Answer


class Exposition:
    """What `/metrics` answers: our instruments and the process's own figures."""

    def __init__(self, instruments: Registry) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Instruments(instruments))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The body and its content type: the text format, or OpenMetrics where `accept` asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def text_of_all(self, others: Iterable[Answer], accept: str = "") -> tuple[bytes, str]:
        """The same of this worker and others together."""
        encode, content_type = choose_encoder(accept)
        families = Families()
        families.add(self.text()[0].decode())
        for answer in others:
            if answer.status == 200:
                families.add(answer.body.decode())
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Gathered(families))
        return encode(registry), content_type


class _Gathered(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families.collect()


class _Instruments(Collector):
    def __init__(self, instruments: Registry) -> None:
        self._instruments = instruments

    def collect(self) -> Iterable[Metric]:
        for _, samples in groupby(self._instruments.collect(), key=lambda sample: (sample.name, sample.kind)):
            yield _family(list(samples))


def _family(samples: list[Sample]) -> Metric:
    first = samples[0]
    labels = sorted({name for sample in samples for name in sample.labels})
    if first.kind == "histogram":
        histograms = HistogramMetricFamily(first.name, first.help, labels=labels)
        for sample in samples:
            assert isinstance(sample.value, Histogram)
            histograms.add_metric(_values(sample, labels), list(_buckets(sample.value)), sample.value.total)
        return histograms
    plain = CounterMetricFamily if first.kind == "counter" else GaugeMetricFamily
    numbers = plain(first.name, first.help, labels=labels)
    for sample in samples:
        assert not isinstance(sample.value, Histogram)
        numbers.add_metric(_values(sample, labels), sample.value)
    return numbers


def _values(sample: Sample, labels: list[str]) -> list[str]:
    return [sample.labels.get(name, "") for name in labels]


def _buckets(histogram: Histogram) -> Iterator[tuple[str, float]]:
    """Cumulative counts by upper bound."""
    bounds = [*(repr(float(bound)) for bound in histogram.bounds), "+Inf"]
    return zip(bounds, accumulate(histogram.counts), strict=True)
