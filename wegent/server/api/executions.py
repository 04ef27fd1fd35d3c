"""Background work over REST (protocol §10)."""

from __future__ import annotations

from typing import Any

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol.executions import ExecutionItem, ExecutionRequest
from wegent.protocol.tasks import Success
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, path_id, principal, protect, read_body, reply
from wegent.server.api.describing import Items, describes, paged
from wegent.server.executions import Executions

PAGE = 50
MAX_PAGE = 100


def executions_blueprint(executions: Executions, auth: Auth) -> Blueprint:
    """`/executions` and what is below it; everybody sees their own."""
    blueprint = Blueprint("executions", __name__, url_prefix=f"{PREFIX}/executions")
    protect(blueprint, auth)

    @blueprint.get("")
    @describes("One's executions, newest first", answers=Items(ExecutionItem), query=paged(MAX_PAGE))
    async def list_executions() -> TrioResponse:
        limit = query.number("limit", PAGE, most=MAX_PAGE)
        place = query.cursor(tuple[int])
        before = None if place is None else place[0]
        views = await executions.page(principal(), before_id=before, limit=limit + 1)
        answer: dict[str, Any] = {"items": [view.as_item() for view in views[:limit]]}
        if len(views) > limit:
            answer["next_cursor"] = query.next_cursor(views[limit - 1].execution.id)
        return reply(answer)

    @blueprint.post("")
    @describes("Have work done at once, later, or by schedule", takes=ExecutionRequest, answers={201: ExecutionItem})
    async def make() -> TrioResponse:
        view = await executions.make(principal(), await read_body(ExecutionRequest))
        return reply(view.as_item(), 201, Location=f"{PREFIX}/executions/{view.execution.id}")

    @blueprint.get("/<execution_id>")
    @describes("An execution", answers=ExecutionItem)
    async def one(execution_id: str) -> TrioResponse:
        return reply((await executions.get(principal(), path_id(execution_id, "execution"))).as_item())

    @blueprint.put("/<execution_id>")
    @describes("Change an execution", takes=ExecutionRequest, answers=ExecutionItem)
    async def change(execution_id: str) -> TrioResponse:
        asked = path_id(execution_id, "execution")
        return reply((await executions.change(principal(), asked, await read_body(ExecutionRequest))).as_item())

    @blueprint.delete("/<execution_id>")
    @describes("Delete an execution")
    async def delete(execution_id: str) -> TrioResponse:
        await executions.delete(principal(), path_id(execution_id, "execution"))
        return reply(Success())

    return blueprint
