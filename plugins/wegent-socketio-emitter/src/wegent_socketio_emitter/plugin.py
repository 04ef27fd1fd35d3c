"""Listens to the channel of python-socketio's managers, and tells this worker's own connections."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import trio
from attrs import frozen

from wegent.core.closing import Close
from wegent.core.config import Secret
from wegent.core.instruments import Registry
from wegent.core.kernel import Worker
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session, Sessions
from wegent.core.told import Told
from wegent.fanout.redis.connection import Connection
from wegent.fanout.redis.link import Link, open_link
from wegent.fanout.redis.opening import Limits
from wegent.fanout.redis.url import parse_url
from wegent_socketio_emitter.messages import Emit, NotUnderstood, Order, read

log = logging.getLogger(__name__)
ASKED = Close(4403, "disconnected by the application", come_back=False)


@frozen
class EmitterConfig:
    """`url` as that of Wegent's Redis plugin; `channel` as given to RedisManager."""

    url: Secret
    channel: str = "socketio"


class Emitter:
    """Does what the messages say, for the sessions of this worker. Plain."""

    def __init__(self, rooms: Rooms, sessions: Sessions) -> None:
        self._rooms = rooms
        self._sessions = sessions

    def do(self, message: Emit | Order) -> None:
        """One message."""
        if isinstance(message, Emit):
            self._emit(message)
        elif message.method == "close_room":
            for session in self._members(message.namespace, message.room):
                self._rooms.leave(session, message.room)
        elif (session := self._sessions.get(message.sid)) is not None and session.namespace == message.namespace:
            self._order(session, message)

    def _order(self, session: Session, order: Order) -> None:
        if order.method == "disconnect":
            session.disconnect(ASKED)
        elif order.method == "leave_room":
            self._rooms.leave(session, order.room)
        elif order.room not in session.rooms:
            self._rooms.enter(session, order.room)

    def _emit(self, emit: Emit) -> None:
        if emit.rooms is None:
            self._to(emit, [each for each in self._sessions.all() if each.namespace == emit.namespace])
        elif len(emit.rooms) == 1 and not emit.skip and self._sessions.get(emit.rooms[0]) is None:
            self._rooms.emit_here(Told(emit.namespace, emit.rooms[0], emit.event, emit.payload))
        else:
            found: dict[Session, None] = {}
            for name in emit.rooms:
                found.update(dict.fromkeys(self._members(emit.namespace, name)))
            self._to(emit, list(found))

    def _members(self, namespace: str, name: str) -> list[Session]:
        session, room = self._sessions.get(name), self._rooms.get(namespace, name)
        alone = [session] if session is not None and session.namespace == namespace else []
        return [*alone, *(room.members() if room is not None else ())]

    def _to(self, emit: Emit, sessions: Sequence[Session]) -> None:
        for session in sessions:
            if session.id not in emit.skip:
                session.emit(emit.event, emit.payload)


class EmitterPlugin(Plugin):
    """The channel's ear in each worker."""

    name = "socketio-emitter"
    on_failure = "restart"
    Config = EmitterConfig

    async def run(
        self, config: EmitterConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Listen until cancelled; a Redis that is away does not keep the worker from starting."""
        emitter = Emitter(deps.one(Rooms), deps.one(Sessions))
        taken = deps.one(Registry).counter("wegent_emitter_messages", "Messages of python-socketio's managers")
        channel = config.channel.encode()

        def pushed(reply: Any) -> bool:
            if type(reply) is not list or reply[0] != b"message" or reply[1] != channel:
                return False
            taken.add()
            _take(emitter, reply[2])
            return True

        async def greeting(connection: Connection) -> None:
            await connection.post("SUBSCRIBE", config.channel)

        name = f"wegent-{deps.one(Worker).name}-emitter"
        async with open_link(Link(parse_url(config.url), Limits(), name=name, pushed=pushed, greeting=greeting)) as _:
            task_status.started([])
            await trio.sleep_forever()


def _take(emitter: Emitter, body: bytes) -> None:
    try:
        if (message := read(body)) is not None:
            emitter.do(message)
    except NotUnderstood as error:
        log.warning("a message for python-socketio's servers is left out: %s", error)
    except Exception:
        log.exception("a message for python-socketio's servers could not be carried out")
