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
from wegent.server.api.conditions import condition_on, etag, version_of
from wegent.server.api.describing import IF_MATCH, Items, describes, paged
from wegent.server.execution_view import ExecutionView
from wegent.server.executions import Executions
from wegent.server.records import Execution

PAGE = 50
MAX_PAGE = 100


def execution_version(row: Execution) -> str:
    """Of what was asked for; its runs, and the times that they move, change nothing of that."""
    asked = (row.team_id, row.prompt, row.run_at, row.cron, row.timezone)
    return version_of(row.id, row.created_at, *asked)  # SQLite gives the id of a deleted row anew


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
        return _answer(view, 201, Location=f"{PREFIX}/executions/{view.execution.id}")

    @blueprint.get("/<execution_id>")
    @describes("An execution", answers=ExecutionItem)
    async def one(execution_id: str) -> TrioResponse:
        return _answer(await executions.get(principal(), path_id(execution_id, "execution")))

    @blueprint.put("/<execution_id>")
    @describes("Change an execution", takes=ExecutionRequest, answers=ExecutionItem, query=(IF_MATCH,))
    async def change(execution_id: str) -> TrioResponse:
        asked = path_id(execution_id, "execution")
        body = await read_body(ExecutionRequest)
        return _answer(await executions.change(principal(), asked, body, condition_on(execution_version)))

    @blueprint.delete("/<execution_id>")
    @describes("Delete an execution", query=(IF_MATCH,))
    async def delete(execution_id: str) -> TrioResponse:
        asked = path_id(execution_id, "execution")
        await executions.delete(principal(), asked, condition_on(execution_version))
        return reply(Success())

    return blueprint


def _answer(view: ExecutionView, status: int = 200, **headers: str) -> TrioResponse:
    return reply(view.as_item(), status, ETag=etag(execution_version(view.execution)), **headers)
