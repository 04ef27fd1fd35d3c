"""An agent that says which trace its job is a part of."""

from __future__ import annotations

from typing import Any


async def run(job: Any, sink: Any) -> None:
    await sink.text(str(job.traceparent))
