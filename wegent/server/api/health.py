"""Whether the worker lives, is ready, and what it counts; with and without the prefix, for anybody (protocol §10)."""

from __future__ import annotations

from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse

from wegent.core.health import Health
from wegent.server.api.calls import PREFIX, reply
from wegent.server.api.metrics import Exposition


def health_blueprint(health: Health, exposition: Exposition) -> Blueprint:
    """`GET /health`, `/ready`, `/metrics`."""
    blueprint = Blueprint("health", __name__)

    async def alive() -> TrioResponse:
        return reply({"status": "ok"})

    async def ready() -> TrioResponse:
        good, words = await health.ready()
        return reply({"ready": good, "details": words}, 200 if good else 503)

    async def metrics() -> TrioResponse:
        body, content_type = exposition.text(request.headers.get("Accept", ""))
        return TrioResponse(body, content_type=content_type)

    for name, call in {"health": alive, "ready": ready, "metrics": metrics}.items():
        blueprint.add_url_rule(f"/{name}", name, call)
        blueprint.add_url_rule(f"{PREFIX}/{name}", f"api_{name}", call)
    return blueprint
