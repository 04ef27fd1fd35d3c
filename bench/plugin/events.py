"""Events `bench:echo` and `bench:start` on `/chat`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import trio
from attrs import asdict, frozen

from bench.plugin.pace import Pace, token
from bench.plugin.seed import STREAM_TEAM
from wegent.core.model import Principal, StreamId
from wegent.core.namespaces import Ack, Namespace, Namespaces
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.sessions import Session
from wegent.core.streams import Streams
from wegent.protocol.chat import ChatSend
from wegent.server.ports.store import Store, Unit
from wegent.server.sending import Sending

FIRST_SUBTASK = 1_000_000_001


@frozen
class Start:
    """Stream `count` tokens of `size` characters into tasks `base` … `base + rooms - 1`, `rate` a second and task.

    `keep`: as a run of the first task, which begins with `preload` characters, so that who joins is told of it.
    `runs`: as a run of each task, so that other workers are told too.
    """

    base: int
    rooms: int
    count: int
    rate: float
    size: int
    preload: int = 0
    keep: bool = False
    runs: bool = False


class EventsPlugin(Plugin):
    """Adds the events to the namespace that the chat plugin brings."""

    name = "bench-events"
    requires: ClassVar[tuple[type[Any], ...]] = (Namespaces, Store, Streams, Sending)

    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Hold the streams that are under way."""
        del config
        chat = deps.all(Namespaces)["chat"].namespaces()["/chat"]
        async with trio.open_nursery() as nursery:
            team = await deps.one(Store).read(stream_team)
            add_events(chat, Services(deps.one(Streams), deps.one(Sending), team, nursery))
            task_status.started([])
            await trio.sleep_forever()


@frozen
class Services:
    """What the events need: `team` is the one whose runs go to our executor."""

    streams: Streams
    sending: Sending
    team: int
    nursery: trio.Nursery


def stream_team(unit: Unit) -> int:
    """Return the id of that team."""
    kind = unit.kind_named("Team", "default", STREAM_TEAM, user_id=None)
    assert kind is not None
    return kind.id


def add_events(chat: Namespace, services: Services) -> None:
    subtasks = itertools.count(FIRST_SUBTASK)

    @chat.on("bench:echo")
    def echo(_: Session, payload: Any) -> Any:
        return payload

    @chat.on("bench:start")
    async def start(session: Session, payload: Start, ack: Ack) -> None:
        if payload.keep:
            text = f"@{STREAM_TEAM} {json.dumps(asdict(payload))}"
            message = ChatSend(task_id=payload.base, team_id=services.team, message=text)
            await services.sending.send(session.principal, message, ack=ack, session=session)
            return
        if payload.runs:
            services.nursery.start_soon(send_to_all, services, payload)
            ack({"success": True})
            return
        ids = [StreamId(payload.base + i, next(subtasks), 1) for i in range(payload.rooms)]
        services.nursery.start_soon(publish, services.streams, ids, payload)
        ack({"success": True})


async def send_to_all(services: Services, what: Start) -> None:
    """Start a run in every task, as their owners do, users 1, 2, …; the last of them makes the tokens of all."""
    text = f"@{STREAM_TEAM} {json.dumps(asdict(what))}"
    for i in range(what.rooms):
        owner = Principal(i + 1, f"user{i + 1}")
        message = ChatSend(task_id=what.base + i, team_id=services.team, message=text)
        await services.sending.send(owner, message, ack=lambda _: None)


async def publish(streams: Streams, ids: Sequence[StreamId], what: Start) -> None:
    """Append token after token, all streams in turn: to the log, and from there to everybody who watches."""
    replicas = [streams.open(stream, 0) for stream in ids]
    pace = Pace(what.rate * what.rooms)
    for k in range(what.count * what.rooms):
        at = await pace.wait(k)
        streams.say(replicas[k % what.rooms], token(at, what.size))
