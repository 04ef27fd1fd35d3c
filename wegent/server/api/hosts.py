"""Calls of executor hosts (protocol §7.1)."""

from __future__ import annotations

from functools import partial

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol.auth import Scope
from wegent.protocol.hosts import FetchedTasks, FetchTasks, ReportReply, ReportStatus
from wegent.server.api.calls import (
    PREFIX,
    bearer_token,
    body_as,
    path_id,
    principal,
    protect,
    read_body,
    read_object,
    reply,
)
from wegent.server.api.describing import describes
from wegent.server.hosts import Hosts

SCOPES = (Scope.EXECUTOR,)


def hosts_blueprint(hosts: Hosts, auth: Auth) -> Blueprint:
    """`POST /tasks/fetch`, `PUT /tasks/{id}/status`."""
    blueprint = Blueprint("hosts", __name__, url_prefix=f"{PREFIX}/tasks")
    protect(blueprint, auth, SCOPES)

    @blueprint.post("/fetch")
    @describes("Fetch runs to do", takes=FetchTasks, answers=FetchedTasks)
    async def fetch() -> TrioResponse:
        asked = await read_body(FetchTasks)
        caller = partial(auth.authenticate, bearer_token(), SCOPES)
        return reply(FetchedTasks(tasks=tuple(await hosts.fetch(caller, asked))))

    @blueprint.put("/<task_id>/status")
    @describes("Report what a run says", takes=ReportStatus, answers=ReportReply)
    async def report(task_id: str) -> TrioResponse:
        said = body_as(await read_object(loose=True), ReportStatus)
        return reply(await hosts.report(principal(), path_id(task_id, "task"), said))

    return blueprint
