"""A whole server in the test's process: ada, who has one of everything, and people who have no business with it.

The wall clock stands still, so that whatever changes was changed by who asked. All texts of ada's begin with `MARK`,
and all ids of what is hers are of `IDS`: so what is told to others can be searched for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import trio
import trio.testing
from attrs import define, field, frozen

from wegent.core.clock import VirtualClock
from wegent.core.errors import RunFailed
from wegent.core.kernel import Kernel, Worker
from wegent.core.model import Job, Outcome
from wegent.core.namespaces import Namespace
from wegent.core.ports.executor import Executor, Sink
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.presets.assembly import assemble, read_preset
from wegent.server.auth import TokenAuth
from wegent.server.ports.store import Store
from wegent.server.records import Subtask, Task, User
from wegent.server.teams import CHAT_SHELL
from wegent.storage.memory import MemoryStore
from wegent.storage.memory_tables import Tables
from wegent.testing.memory_client import MemoryClient

API = "/api/v1"
MARK = "sesame"
IDS = re.compile(r"\b7\d{8}\b")
TEXTS = re.compile(MARK + r"[\w.-]*", re.IGNORECASE)
FARM = f"{MARK}-farm"
LAPTOP = f"{MARK}-laptop"
SOCKETS = {"front-door", "websocket", "socketio", "http", "listener"}
ENGINES = {"chat-shell", "openai", "anthropic", "process"}
DAY = timedelta(days=1)
BOUNDARY = "frontier"


class Playing(Executor):
    """Does what the prompt says: `ask`, `wait`, `fail`; else it answers."""

    async def run(self, job: Job, sink: Sink) -> Outcome:
        prompt = job.spec.prompt
        await sink.text(f"{MARK}-answer of {prompt.split()[-1]}" if MARK in prompt else "an answer")
        if "ask" in prompt:
            await sink.skill(f"{MARK}-skill", "open", {"what": f"{MARK}-asked"})
        if "wait" in prompt:
            await trio.sleep_forever()
        if "fail" in prompt:
            raise RunFailed(f"{MARK}-failure")
        return Outcome()


class PlayingPlugin(Plugin):
    """In the place of the chat shell."""

    name = "playing"
    provides: ClassVar[tuple[type[Any], ...]] = (Executor,)

    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Any]) -> None:
        task_status.started([Provision(Executor, Playing(), CHAT_SHELL)])
        await trio.sleep_forever()


@frozen
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The error's code; empty where there is no error."""
        return "" if self.status < 400 else str(self.json["code"])


@define
class Own:
    """What somebody has themselves, to be used together with ids of ada's."""

    user: User
    token: str
    task_id: int = 0
    team_id: int = 0
    base_id: int = 0
    execution_id: int = 0
    waiting: Subtask | None = None


@frozen
class Actor:
    """Who asks, with which token; None: with none at all. `own` are the things of whoever's token it is."""

    name: str
    scope: str
    token: str | None
    own: Own
    admin: bool = False

    @property
    def person(self) -> bool:
        return self.scope == "user"


@define
class Scene:
    app: Any
    deps: Deps
    sessions: Any
    nursery: trio.Nursery
    data: Path
    ada: Own
    owns: dict[str, Own] = field(factory=dict)
    actors: list[Actor] = field(factory=list)
    namespaces: dict[str, Namespace] = field(factory=dict)
    lease: dict[str, Any] = field(factory=dict)
    request_id: str = ""
    laptop: MemoryClient | None = None
    deleted: set[int] = field(factory=set)
    open_words: set[str] = field(factory=set)
    """Texts and ids of ada's that she has opened to everybody."""

    @property
    def store(self) -> MemoryStore:
        store = self.deps.one(Store)
        assert isinstance(store, MemoryStore)
        return store

    @property
    def tables(self) -> Tables:
        return self.store._tables

    @property
    def auth(self) -> TokenAuth:
        return self.deps.one(TokenAuth)

    # what is hers

    @property
    def tasks(self) -> list[Task]:
        return [task for task in self.tables.tasks.values() if task.owner_id == self.ada.user.id]

    @property
    def rows(self) -> list[Subtask]:
        mine = {task.id for task in self.tasks}
        return [row for row in self.tables.subtasks.values() if row.task_id in mine]

    def hers(self, table: Mapping[Any, Any]) -> list[Any]:
        return [row for row in table.values() if row.user_id == self.ada.user.id]

    def team(self, name: str) -> int:
        return next(kind.id for kind in self.hers(self.tables.kinds) if (kind.kind, kind.name) == ("Team", name))

    # what can be seen of it

    def dump(self) -> dict[str, dict[Any, Any]]:
        """All rows, and the names of the files; but for what the server notes by itself from time to time: that it is
        alive, whose turn it is, and what runs have said so far.
        """
        found = {
            name: dict(table)
            for name, table in vars(self.tables).items()
            if isinstance(table, dict) and not name.startswith("_") and name not in ("beats", "queues", "parts")
        }
        files = sorted(path for path in self.data.rglob("*") if path.is_file() and path.name != "secret")
        return {**found, "files": {path: path.stat().st_size for path in files}}

    def put_back(self, dump: Mapping[str, Mapping[Any, Any]]) -> None:
        """All rows as they were."""
        for name, rows in dump.items():
            if name != "files":
                table = getattr(self.tables, name)
                table.clear()
                table.update(rows)

    def words(self, text: str) -> set[str]:
        """What of ada's is in a text."""
        secrets = {secret for secret in self._secrets() if secret in text}
        return {*TEXTS.findall(text), *IDS.findall(text), *secrets}

    def _secrets(self) -> set[str]:
        tokens = {token.jti for token in self.hers(self.tables.tokens)}
        leases = {row.lease for row in self.rows if row.lease}
        blobs = {row.blob for row in self.hers(self.tables.attachments)}
        return {*tokens, *leases, *blobs, self.request_id.partition(".")[2]} - {""}

    def leaks(self, asked: str, told: str) -> set[str]:
        """What of ada's somebody is told who did not say it themselves."""
        return self.words(told) - self.words(asked) - self.open_words

    # who asks

    async def call(self, method: str, path: str, token: str | None, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        response = await self.app.test_client().open(API + path, method=method, headers=sent, data=data)
        return Answer(response.status_code, (await response.get_data()).decode(errors="replace"), response.headers)

    async def made(self, own: Own, path: str, body: Any, **headers: str) -> Any:
        answer = await self.call("POST", path, own.token, body, **headers)
        assert answer.status < 300, answer
        return answer.json

    async def socket(self, namespace: str, token: str) -> MemoryClient:
        client = MemoryClient(self.sessions, self.namespaces[namespace], self.nursery, token=token)
        await client.connect()
        return client

    async def issue(self, user: User, scope: str, **claims: Any) -> str:
        return (await self.auth.issue(user, scope, DAY, name=f"{MARK}-token", **claims))[0]

    def run_token(self, user: User, row: Subtask) -> str:
        named = SimpleNamespace(id=user.id, name=user.user_name)
        run = SimpleNamespace(task_id=row.task_id, subtask_id=row.id, attempt=row.attempt, user=named)
        return self.auth.run_token(run)  # type: ignore[arg-type]


def form(name: str, text: str) -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'
    return f"--{BOUNDARY}\r\n{head}{text}\r\n--{BOUNDARY}--\r\n".encode()


FORM = {"Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}


@asynccontextmanager
async def at_work(data: Path) -> AsyncIterator[tuple[Deps, Any, trio.Nursery]]:
    """The default deployment without its sockets, on a store in memory."""
    tree: dict[str, Any] = {
        **read_preset("default"),
        "storage": {"url": "memory://"},
        "kernel": {"drain_timeout": 0.05},
        "api": {"user_rate": 0},
    }
    names = [name for name in tree["plugins"]["load"] if name not in SOCKETS | ENGINES]
    tree["plugins"] = {"load": [*names, "tests.access.scene:PlayingPlugin"]}
    made = assemble(tree)
    kernel = Kernel(made.plugins, made.kernel, worker=Worker("worker", data), clock=VirtualClock())
    async with trio.open_nursery() as nursery:
        deps = await nursery.start(kernel.serve)
        async with trio.open_nursery() as clients:
            yield deps, kernel.sessions, clients
            clients.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def settled() -> None:
    """Nobody does anything any more: time stands still."""
    await trio.testing.wait_all_tasks_blocked()
