"""The tracer that is OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wegent.core.ports.tracing import Attribute, Span, Tracer


class _Span(Span):
    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, name: str, value: Attribute) -> None:
        self._span.set_attribute(name, value)


class OpenTelemetryTracer(Tracer):
    """Makes spans with a provider of its own; the process's global one is left alone."""

    __slots__ = ("_format", "_tracer")

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("wegent")
        self._format = TraceContextTextMapPropagator()

    def span(
        self, name: str, attributes: Mapping[str, Attribute], *, parent: str | None = None
    ) -> AbstractContextManager[Span]:
        """See `Tracer.span`."""
        return self._within(name, attributes, parent)

    def traceparent(self) -> str | None:
        """See `Tracer.traceparent`."""
        carrier: dict[str, str] = {}
        self._format.inject(carrier)
        return carrier.get("traceparent")

    @contextmanager
    def _within(self, name: str, attributes: Mapping[str, Attribute], parent: str | None) -> Iterator[Span]:
        context = None if parent is None else self._format.extract({"traceparent": parent})
        # What exceptions say may be somebody's text: only their class is kept.
        made = self._tracer.start_as_current_span(
            name, context=context, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        )
        with made as span:
            try:
                yield _Span(span)
            except Exception as error:
                span.set_status(trace.Status(trace.StatusCode.ERROR))
                span.set_attribute("error.type", type(error).__name__)
                raise
