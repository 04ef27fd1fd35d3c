"""Tracing as a plugin: spans go to an OpenTelemetry collector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import trio
from attrs import field, frozen
from attrs.validators import ge, gt, le

from wegent.core.config import Secret
from wegent.core.errors import ConfigError
from wegent.core.kernel import Worker
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.tracing import Tracer
from wegent.core.sessions import Sessions

STOP_S = 3.0
"""Seconds that what is left may take to be sent at the end."""


@frozen(kw_only=True)
class TracingConfig:
    """Where spans are sent, by OTLP over HTTP.

    Attributes:
        endpoint: of the collector, with its path.
        authorization: the header of that name, for collectors that want one.
        headers: sent with every request.
        ratio: of the traces that begin here, the part that is kept.
        service: the name under which they are found.
        waiting: spans that wait to be sent; further ones are dropped.
    """

    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    authorization: Secret | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    ratio: float = field(default=1.0, validator=[ge(0), le(1)])
    service: str = "wegent"
    timeout_s: float = field(default=5.0, validator=gt(0))
    waiting: int = field(default=2048, validator=gt(0))


class TracingPlugin(Plugin):
    """Spans of events, runs, answers and statements."""

    name = "tracing"
    requires: ClassVar[tuple[type[Any], ...]] = (Sessions,)
    provides: ClassVar[tuple[type[Any], ...]] = (Tracer,)
    Config = TracingConfig

    async def run(
        self, config: TracingConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Spans are sent by a thread of the SDK's, in batches; what is left goes out at the end."""
        try:
            provider, make = _provider(config, deps.one(Worker).name)
        except ImportError as error:
            raise ConfigError("tracing needs OpenTelemetry; install wegent[tracing]") from error
        sessions = deps.one(Sessions)
        sessions.tracer = tracer = make(provider)
        try:
            task_status.started([Provision(Tracer, tracer)])
            await trio.sleep_forever()
        finally:
            sessions.tracer = None
            with trio.move_on_after(STOP_S, shield=True):
                await trio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


def _provider(config: TracingConfig, worker: str) -> tuple[Any, Any]:
    sdk, sampling = import_module("opentelemetry.sdk.trace"), import_module("opentelemetry.sdk.trace.sampling")
    export = import_module("opentelemetry.sdk.trace.export")
    otlp = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    resources = import_module("opentelemetry.sdk.resources")
    headers = dict(config.headers)
    if config.authorization is not None:
        headers["authorization"] = config.authorization
    exporter = otlp.OTLPSpanExporter(endpoint=config.endpoint, headers=headers, timeout=config.timeout_s)
    provider = sdk.TracerProvider(
        resource=resources.Resource.create({"service.name": config.service, "service.instance.id": worker}),
        sampler=sampling.ParentBased(sampling.TraceIdRatioBased(config.ratio)),
        shutdown_on_exit=False,
    )
    batch = min(512, config.waiting)
    provider.add_span_processor(
        export.BatchSpanProcessor(exporter, max_queue_size=config.waiting, max_export_batch_size=batch)
    )
    return provider, partial(import_module("wegent.tracing.tracer").OpenTelemetryTracer)
