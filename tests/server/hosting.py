"""An application whose runs are done by executor hosts, called over its REST application; on a virtual clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from attrs import frozen
from quart_trio import QuartTrio

from wegent.codec import convert
from wegent.protocol.hosts import FetchTasks, ReportReply, ReportStatus
from wegent.protocol.jobs import Job
from wegent.server.api.app import make_app
from wegent.server.api.hosts import hosts_blueprint
from wegent.server.api.plugin import Blueprints
from wegent.server.api.tasks import rows_blueprint
from wegent.server.auth import TokenAuth
from wegent.server.hosts import Hosts
from wegent.server.records import Token
from wegent.server.tokens import Signer
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor, say, wait
from wegent.testing.viewer import Viewer

TARGET = "chat_shell"
PREFIX = "/api/v1/tasks"


@frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def code(self) -> Any:
        return self.json.get("code")


class Site(Application):
    """`mine`: how many runs the server's own executor takes at once. `token` is a host's for `TARGET`."""

    def __init__(self, *, mine: int = 0, **options: Any) -> None:
        super().__init__(
            ScriptedExecutor({"slow": [say("here"), wait(100)]}, default=[say("here")]), max_concurrent=mine, **options
        )
        self.tokens = TokenAuth(self.store, Signer(b"s" * 64), self.clock)
        self.hosts = Hosts(self.queue, self.remote, self.tokens.run_token, self.registry)
        self.token = ""

    @cached_property
    def rest(self) -> QuartTrio:
        return make_app(
            [Blueprints([hosts_blueprint(self.hosts, self.tokens), rows_blueprint(self.store, self.tokens)])]
        )

    async def new_token(self, *targets: str, scope: str = "executor", name: str = "alice") -> tuple[str, Token]:
        user = await self.store.read(lambda unit: unit.user_named(name))
        assert user is not None
        claims = {"targets": list(targets)} if scope == "executor" else {}
        return await self.tokens.issue(user, scope, timedelta(days=1), **claims)

    async def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any) -> Answer:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        data = more.get("data") or (None if body is None else json.dumps(body).encode())
        client = self.rest.test_client()
        response = await client.open(PREFIX + path, method=method, headers=headers, data=data)
        return Answer(response.status_code, response.headers, json.loads(await response.get_data()))

    async def fetch(self, *targets: str, token: str | None = None, **fields: Any) -> Answer:
        body = {"executor": "host-1", "targets": targets or (TARGET,), "limit": 1, **fields}
        return await self.call("POST", "/fetch", body, token=token)

    async def report(self, job: Mapping[str, Any], *, token: str | None = None, **fields: Any) -> Answer:
        body = {name: job[name] for name in ("subtask_id", "attempt", "lease")} | fields
        return await self.call("PUT", f"/{fields.pop('task_id', job['task_id'])}/status", body, token=token)

    # the same without HTTP, to be cut off anywhere: the test client of the web application can't be

    async def take(self, wait_s: int = 0) -> list[Job]:
        asked = FetchTasks(executor="host-1", targets=(TARGET,), limit=1, wait_s=wait_s)
        return await self.hosts.fetch(partial(self.tokens.authenticate, self.token, ["executor"]), asked)

    async def say(self, job: Mapping[str, Any], **fields: Any) -> ReportReply:
        who = await self.tokens.authenticate(self.token, ["executor"])
        body = {name: job[name] for name in ("subtask_id", "attempt", "lease")} | fields
        return await self.hosts.report(who, job["task_id"], convert(body, ReportStatus))

    async def sent(self, message: str = "hi", *, name: str = "alice", **fields: Any) -> Viewer:
        client = await self.client(name)
        ack = await client.emit("chat:send", {"team_id": self.team_id, "message": message, **fields})
        return Viewer(client, ack["task_id"])

    async def begun(self, message: str = "hi") -> tuple[Viewer, dict[str, Any]]:
        """A viewer, and the job that a host has fetched for it."""
        viewer = await self.sent(message)
        answer = await self.fetch(wait_s=5)
        assert answer.status == 200, answer.json
        (job,) = answer.json["tasks"]
        return viewer, job


@asynccontextmanager
async def site(made: Site | None = None, **options: Any) -> AsyncIterator[Site]:
    async with serving(made or Site(**options)) as app:
        assert isinstance(app, Site)
        app.token, _ = await app.new_token(TARGET)
        yield app


def chunk(text: str, offset: int | None = None) -> dict[str, Any]:
    """A runner's message; without an offset, what follows."""
    said: dict[str, Any] = {"type": "chunk", "content": text}
    return said if offset is None else {**said, "offset": offset}
