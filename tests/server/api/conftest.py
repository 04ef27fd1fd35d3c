"""The REST application over a store in memory, with a real TokenAuth and the services that a server has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import argon2
import pytest
from attrs import define, frozen

from tests.server.api.conformance import check_answer
from wegent.core.clock import Clock
from wegent.core.health import Health
from wegent.core.instruments import Registry
from wegent.core.outbox import OutboxLimits
from wegent.core.ports.plugin import Deps, Provision
from wegent.core.remote import RemoteRuns
from wegent.core.rooms import Rooms
from wegent.core.saving import Saver
from wegent.core.sessions import Sessions
from wegent.core.streams import Streams
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryStreamLog
from wegent.server.api.app import AppConfig, make_app
from wegent.server.api.page import PageRoutes
from wegent.server.api.plugin import ApiConfig, api_routes
from wegent.server.api.revoking import Revoked
from wegent.server.auth import TokenAuth
from wegent.server.changing import Changing
from wegent.server.editing import Editing
from wegent.server.evicting import Evictions
from wegent.server.following import Followers
from wegent.server.joining import Joining
from wegent.server.members import Members
from wegent.server.passwords import Passwords
from wegent.server.ports.store import Store
from wegent.server.queueing import Queue
from wegent.server.records import User
from wegent.server.runbook import StoreRunBook
from wegent.server.sending import Sending
from wegent.server.specs import job_of
from wegent.server.stopping import Cancelling
from wegent.server.targets import Targets
from wegent.server.teams import CHAT_SHELL, add_defaults
from wegent.server.telling import ChatVoice, Teller
from wegent.server.tokens import Signer
from wegent.server.updates import Updates
from wegent.storage.memory import MemoryStore

SECRET = b"s" * 64
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
API = "/api/v1"


class SetClock(Clock):
    """A wall clock that a test moves, and that moves a millisecond each time it is read."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def time(self) -> float:
        self.seconds += 0.001
        return self.seconds


class ShakyStore(MemoryStore):
    """Raises `fault` from whatever it is asked, while there is one."""

    fault: Exception | None = None

    async def _pause(self) -> None:
        if self.fault is not None:
            raise self.fault
        await super()._pause()


class Heard(Revoked):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.tokens: list[tuple[str, int]] = []
        self.users: list[int] = []

    def revoked(self, jti: str, user_id: int) -> None:
        self.tokens.append((jti, user_id))

    def shut_out(self, user_id: int) -> None:
        self.users.append(user_id)


@frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@define
class Scene:
    """A server's REST, called as its own `ada` where no token is named."""

    app: Any
    store: ShakyStore
    auth: TokenAuth
    clock: SetClock
    signer: Signer
    followers: Followers
    health: Health
    registry: Registry
    heard: Heard
    nudged: list[int]
    stopped: list[tuple[int, int]]
    ada: User
    bob: User
    boss: User
    team_id: int
    tokens: dict[str, str]

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "",
        body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`token`: a user's name, "" for ada's; else a token as it is; None for no header at all."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(token or 'ada', token)}"
        if body is not None:
            data = json.dumps(body).encode()
        response = await self.app.test_client().open(path, method=method, headers=sent, data=data)
        answer = Answer(response.status_code, response.headers, await response.get_data())
        check_answer(self.app, method, path, answer.status, answer.headers.get("Content-Type", ""), answer.body)
        return answer

    async def get(self, path: str, **given: Any) -> Answer:
        return await self.call("GET", API + path, **given)

    async def post(self, path: str, body: Any = None, **given: Any) -> Answer:
        return await self.call("POST", API + path, body=body, **given)

    async def new_task(self, message: str = "hello", *, token: str = "", **fields: Any) -> dict[str, Any]:
        answer = await self.post("/tasks", {"team_id": self.team_id, "message": message, **fields}, token=token)
        assert answer.status == 201, answer.body
        return answer.json

    async def change_row(self, subtask_id: int, **changes: Any) -> None:
        def work(unit: Any) -> None:
            row = unit.subtask(subtask_id)
            unit.update_subtask(subtask_id, task=unit.touch(row.task_id), **changes)

        await self.store.write(work)


async def make_scene(config: AppConfig | None = None, api: ApiConfig | None = None) -> Scene:
    clock = SetClock()
    store = ShakyStore(clock)
    registry, health, heard = Registry(), Health(), Heard()
    signer = Signer(SECRET)
    auth = TokenAuth(store, signer, clock, Passwords(CHEAP), ttl=0.0)
    nudged: list[int] = []
    stopped: list[tuple[int, int]] = []
    rooms = Rooms(registry)
    teller = Teller(rooms)
    sending = Sending(store, clock, rooms, teller, lambda row: nudged.append(row.id), Targets(clock, [CHAT_SHELL]))

    def stop(subtask_id: int, attempt: int) -> None:
        stopped.append((subtask_id, attempt))

    cancelling = Cancelling(store, clock, teller, stop)
    updates, evictions = Updates(rooms), Evictions(rooms)
    book = StoreRunBook(store, clock, job_of)
    timers = Timers()
    streams = Streams(MemoryStreamLog(timers), rooms, timers, ChatVoice())
    sessions = Sessions(rooms, timers, clock, registry)
    remote = RemoteRuns(book, streams, teller, registry, Saver(book), clock=clock)
    deps = Deps(
        {
            Store: store,
            TokenAuth: auth,
            Sending: sending,
            Cancelling: cancelling,
            Members: Members(store, clock, teller, updates, evictions),
            Changing: Changing(store, clock, teller, updates, evictions, stop),
            Editing: Editing(store, sending, updates),
            Health: health,
            Queue: Queue(book, registry),
            RemoteRuns: remote,
            Registry: registry,
            Clock: clock,
            Timers: timers,
        }
    )
    deps.add("listener", [Provision(Revoked, heard)])
    followers = Followers(sessions, Joining(store, clock, rooms, streams), OutboxLimits())
    app = make_app([api_routes(deps, followers, api or ApiConfig()), PageRoutes()], config)

    await store.write(add_defaults)
    users = {}
    for name, role in (("ada", "user"), ("bob", "user"), ("boss", "admin")):
        hashed = CHEAP.hash(f"{name}'s password")
        users[name] = await store.write(
            lambda unit, name=name, role=role, hashed=hashed: unit.add_user(name, password_hash=hashed, role=role)
        )
    tokens = {name: (await auth.issue(user, "user", timedelta(hours=1)))[0] for name, user in users.items()}
    team = await store.read(lambda unit: unit.kind_named("Team", "default", "assistant", user_id=None))
    assert team is not None
    return Scene(
        app=app,
        store=store,
        auth=auth,
        clock=clock,
        signer=signer,
        followers=followers,
        health=health,
        registry=registry,
        heard=heard,
        nudged=nudged,
        stopped=stopped,
        team_id=team.id,
        tokens=tokens,
        **users,
    )


@pytest.fixture
async def scene() -> Scene:
    return await make_scene()


@pytest.fixture
def remake() -> Any:
    """Makes a scene of another configuration."""
    return make_scene
