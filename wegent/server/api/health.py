"""Whether the worker lives, is ready, and what it counts; with and without the prefix, for anybody (protocol §10)."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse

from wegent.core.health import Health
from wegent.server.api.calls import PREFIX, reply
from wegent.server.api.describing import Media, describes
from wegent.server.api.gathering import all_ready
from wegent.server.api.metrics import Exposition
from wegent.server.ports.siblings import Answer, Siblings

ALONE = "X-Wegent-Alone"
"""The header by which one worker asks another for what is its own."""


@frozen(kw_only=True)
class Alive:
    """The process answers."""

    status: str


@frozen(kw_only=True)
class Readiness:
    """Whether work is taken, a word on each part of the worker that answers, and how the others of its host are."""

    ready: bool
    details: dict[str, str]
    workers: dict[str, Any] | None = None


def health_blueprint(health: Health, exposition: Exposition, siblings: Siblings | None = None) -> Blueprint:
    """`GET /health`, `/ready`, `/metrics`; the latter two for all workers of this host."""
    blueprint = Blueprint("health", __name__)

    async def others(path: str) -> list[Answer]:
        return [] if siblings is None or ALONE in request.headers else await siblings.ask(path)

    @describes("Whether the process answers", answers=Alive)
    async def alive() -> TrioResponse:
        return reply({"status": "ok"})

    @describes("Whether a worker of this host takes work", answers={200: Readiness, 503: Readiness})
    async def ready() -> TrioResponse:
        all_of_them = all_ready(await health.ready(), await others("/ready"))
        return reply(all_of_them, 200 if all_of_them["ready"] else 503)

    @describes("Figures for Prometheus", answers=Media("text/plain", {"type": "string"}))
    async def metrics() -> TrioResponse:
        found, accept = await others("/metrics"), request.headers.get("Accept", "")
        body, content_type = exposition.text_of_all(found, accept) if found else exposition.text(accept)
        return TrioResponse(body, content_type=content_type)

    for name, call in {"health": alive, "ready": ready, "metrics": metrics}.items():
        blueprint.add_url_rule(f"/{name}", name, call)
        blueprint.add_url_rule(f"{PREFIX}/{name}", f"api_{name}", call)
    return blueprint
