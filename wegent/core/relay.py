"""Rooms that reach over workers: what one worker tells a room, the members on all others hear, once and in order."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from wegent.core.errors import BrokerAway, Overloaded
from wegent.core.following import Following, Heard
from wegent.core.order import MARGIN, Order
from wegent.core.ports.fanout import Appended, Lost, Message, Subscription
from wegent.core.ports.roomrelay import RoomRelay
from wegent.core.reminders import Reminders
from wegent.core.told import Told

if TYPE_CHECKING:
    from wegent.core.instruments import Registry
    from wegent.core.model import Entry, StreamId
    from wegent.core.ports.fanout import Fanout
    from wegent.core.ports.rows import Changes, Rows
    from wegent.core.rooms import Rooms
    from wegent.core.streams import Streams

log = logging.getLogger(__name__)
PATIENCE = 0.25
"""Seconds that an event waits for an earlier one, which another worker tells, before the rows are read instead."""
AGAIN = 0.5
"""Seconds between two looks at rows that can't be read."""
LINGER = 10.0
"""Seconds that a topic is listened to after its last member has gone."""
SILENCE = 3.0
"""Seconds without a word from a stream's writer, which repeats its number each second, after which it may be lost."""
LONGEST = 5.0
"""Seconds that somebody who joins waits for others' messages, or for the rows."""
COMMANDS = "workers"
"""The name of the topic on which workers tell each other what to do; no room is called so."""
AT_ONCE = 16
"""Tasks whose rows are read at once."""


def topic_of(room: str) -> str:
    """The topic of a room; that of a task's room is the one on which its streams' log announces."""
    return f"{{{room}}}"


class Relay(RoomRelay):
    """One worker's part. What it says goes out with a number; what is missing of what others say is read from the rows
    and the log, and told as if it had come.
    """

    def __init__(
        self,
        fanout: Fanout,
        rooms: Rooms,
        streams: Streams,
        rows: Rows,
        registry: Registry,
        *,
        encode: Callable[[Told], bytes],
        decode: Callable[[bytes], Told],
    ) -> None:
        """`decode` raises ValueError for what `encode` has not made."""
        self._fanout = fanout
        self._rooms = rooms
        self._streams = streams
        self._rows = rows
        self._encode = encode
        self._decode = decode
        self._followed: dict[str, Following] = {}
        self._reminders = Reminders(fanout)
        self._commands: dict[str, Callable[[Any], object]] = {}
        self._missed: list[Callable[[], Awaitable[None]]] = []
        self._subscription: Subscription | None = None
        self._nursery: trio.Nursery | None = None
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._mended = registry.counter(
            "wegent_gaps_closed", "Looks at rows and logs for what other workers' messages lack"
        )
        registry.gauge("wegent_topics", "Rooms of which this worker hears from others", lambda: len(self._followed))

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, repeat numbers, mend; until cancelled."""
        async with self._fanout.subscribe() as subscription, trio.open_nursery() as nursery:
            self._subscription, self._nursery = subscription, nursery
            for following in self._followed.values():  # whoever came before
                nursery.start_soon(self._begin, following)
            self._following(COMMANDS)
            nursery.start_soon(self._tick)
            task_status.started()
            try:
                while True:
                    messages = await subscription.receive()
                    now = trio.current_time()
                    for message in messages:
                        self._receive(message, now)
            finally:
                self._nursery = None

    # what this worker says

    def emit(self, told: Told) -> None:
        """Tell the members of a room everywhere. Plain."""
        topic = topic_of(told.room)
        self._fanout.publish(topic, self._encode(told))
        self._reminders.said(topic)
        self._take(told)

    def _take(self, told: Told) -> None:
        """Tell those who are here, in order."""
        if told.room == COMMANDS:
            return  # who tells all has done it itself
        following = self._followed.get(told.room)
        if told.revision is not None and following is not None and following.order is not None:
            following.order.take(told)
            self._look(following)
        elif told.behind is None or not self._waits(told, told.behind):
            self._rooms.emit_here(told)

    def _waits(self, told: Told, behind: str) -> bool:
        following = self._followed.get(behind)
        if following is None or following.order is None or not following.order.wait(told):
            return False
        self._look(following)
        return True

    def _look(self, following: Following) -> None:
        """See to it that what waits there does not wait for long."""
        if following.order is not None and following.order.stuck:
            self._mend_soon(following, PATIENCE)

    # what workers tell each other to do

    def on(self, command: str, handler: Callable[[Any], object]) -> None:
        """Do this where another worker tells all. It is plain, and does no harm a second time."""
        self._commands[command] = handler

    def on_missed(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look where commands may have been missed at what they tell of, which was kept before they were told."""
        self._missed.append(look)

    def tell_all(self, command: str, data: Any) -> None:
        """Have every other worker do it, as far as it hears of it. Plain."""
        self.emit(Told("", COMMANDS, command, data))

    def _do(self, told: Told) -> None:
        handler = self._commands.get(told.event)
        if handler is None:
            log.warning("another worker asks for %r, which this one does not know", told.event)
            return
        try:
            handler(told.payload)
        except Exception:
            log.exception("%r, which another worker asked for, failed", told.event)

    async def _look_again(self, following: Following) -> None:
        try:
            while following.suspect:
                following.suspect = False
                for look in self._missed:
                    await look()
        except Overloaded as error:
            log.warning("what other workers asked for can't be looked up: %s; again in a moment", error.sentence)
            following.suspect = True
        finally:
            following.mending = False

    # what others say

    def _receive(self, message: Message | Lost, now: float) -> None:
        if isinstance(message, Lost):
            for each in self._followed.values():
                self._miss(each)
            return
        if (following := self._followed.get(message.topic[1:-1])) is None:
            return
        heard = following.number(message.sender, message.number, now, reminder=message.body is None)
        if heard is Heard.GAP:
            self._miss(following)
        if heard is not Heard.AGAIN and message.body is not None:
            self._hear(following, message.body)

    def _hear(self, following: Following, body: bytes | Appended) -> None:
        if isinstance(body, Appended):
            if following.order is not None and not following.order.hear(body.stream, body.entries):
                self._miss(following)
            return
        try:
            told = self._decode(body)
        except ValueError as error:
            log.warning("a message of another worker on %s is not understood: %s", following.room, error)
            self._miss(following)
            return
        if told.room == COMMANDS:
            self._do(told)
        elif told.room == following.room:
            self._take(told)

    def _miss(self, following: Following) -> None:
        """Something that others said there may be lost."""
        if following.room == COMMANDS:
            following.suspect = True
            self._mend_soon(following)
            return
        if following.order is not None:
            following.order.doubts += 1
            following.suspect = True
            self._mend_soon(following)
            return
        for namespace in following.members:
            if (told := self._rows.resync(namespace, following.room)) is not None:
                self._rooms.emit_here(told)
                for each in self._followed.values():
                    if each.order is not None:
                        each.order.after_waiting(told)

    # who listens

    def entered(self, namespace: str, room: str) -> None:
        """This worker has a member of the room. Plain."""
        self._following(room).members.add(namespace)

    def left(self, namespace: str, room: str) -> None:
        """It has none any more. Plain."""
        if (following := self._followed.get(room)) is not None:
            following.members.discard(namespace)
            following.idle_since = trio.current_time()

    def follows(self, room: str) -> bool:
        """Whether nothing of the room is missed here."""
        following = self._followed.get(room)
        return following is not None and following.ready.is_set()

    async def follow(self, room: str) -> None:
        """Return when nothing of the room is missed here; it stays so for a while.

        Raises:
            Overloaded: the rows can't be read.
        """
        following = self._following(room)
        following.idle_since = trio.current_time()
        with trio.move_on_after(LONGEST):
            await following.ready.wait()
            return
        raise _too_slow()

    async def reach(self, room: str, revision: int) -> None:
        """Return when all up to a task's revision has been told to who is here.

        Raises:
            Overloaded: that takes too long.
        """
        following = self._following(room)
        order = following.order
        if order is None:
            return
        with trio.move_on_after(LONGEST):
            while order.known is None or order.known < revision:
                changed = order.changed
                with trio.move_on_after(PATIENCE / 4):
                    await changed.wait()
                    continue
                following.suspect = True
                self._mend_soon(following)
                await changed.wait()
            return
        raise _too_slow()

    def _following(self, room: str) -> Following:
        found = self._followed.get(room)
        if found is None:
            task_id = self._rows.task_of(room)
            order = None if task_id is None else Order(self._streams, self._rooms)
            found = self._followed[room] = Following(room, task_id, order)
            self._spawn(self._begin, found)
        return found

    async def _begin(self, following: Following) -> None:
        assert self._subscription is not None
        await self._subscription.add(topic_of(following.room))
        if following.order is None:
            following.ready.set()
        else:
            following.suspect = True
            self._mend_soon(following)

    def _spawn(self, call: Callable[..., object], *args: object) -> None:
        if self._nursery is not None:
            try:
                self._nursery.start_soon(call, *args)  # type: ignore[arg-type]
            except RuntimeError:
                log.debug("this worker stops")

    # what is missing

    def _mend_soon(self, following: Following, delay: float = 0.0) -> None:
        if not following.mending and self._nursery is not None:
            following.mending = True
            if following.order is None:
                self._spawn(self._look_again, following)
            else:
                self._spawn(self._mend, following, delay)

    async def _mend(self, following: Following, delay: float) -> None:
        order = following.order
        assert order is not None
        try:
            await trio.sleep(delay)
            while following.suspect or order.stuck:
                following.suspect = False
                async with self._limiter:
                    done = await self._mend_once(following, order)
                if done:
                    following.ready.set()
                if self._followed.get(following.room) is not following:
                    break
                if not done or (order.stuck and not following.suspect):
                    following.suspect = following.suspect or not done
                    await trio.sleep(AGAIN)
        finally:
            following.mending = False

    async def _mend_once(self, following: Following, order: Order) -> bool:
        """Read what is true now, and tell what was not told; whether all could be read."""
        assert following.task_id is not None
        doubts, after = order.doubts, None if order.known is None else max(0, order.known - MARGIN)
        try:
            changes = await self._rows.changes(following.task_id, after)
        except Overloaded as error:
            log.warning("what other workers told of %s can't be read: %s", following.room, error.sentence)
            return False
        texts, whole = await self._texts(order, changes)
        order.mend(changes, texts, doubts)
        self._mended.add()
        return whole

    async def _texts(self, order: Order, changes: Changes) -> tuple[dict[StreamId, list[Entry]], bool]:
        texts: dict[StreamId, list[Entry]] = {}
        try:
            for stream in order.unsaid(changes):
                texts[stream] = await self._streams.missing(stream)
        except BrokerAway:
            return texts, False
        return texts, True

    # what recurs

    async def _tick(self) -> None:
        while True:
            await trio.sleep(1.0)
            self._remind()
            for following in list(self._followed.values()):
                await self._tend(following)

    async def _tend(self, following: Following) -> None:
        now, order = trio.current_time(), following.order
        if not following.members and following.room != COMMANDS and now - following.idle_since >= LINGER:
            await self._unfollow(following)
        elif order is not None and now - following.heard_at >= SILENCE and order.expects():
            following.heard_at = now
            self._miss(following)
        elif following.suspect:
            self._mend_soon(following)

    def _remind(self) -> None:
        self._reminders.repeat(topic_of(self._streams.room_of(task_id)) for task_id in self._streams.written())

    async def _unfollow(self, following: Following) -> None:
        del self._followed[following.room]
        if following.order is not None:
            following.order.stop()
        assert self._subscription is not None
        await self._subscription.discard(topic_of(following.room))
        if following.room in self._followed:  # somebody came meanwhile
            await self._subscription.add(topic_of(following.room))


def _too_slow() -> Overloaded:
    message = "what other workers tell of this can't be had now; try again in a moment"
    return Overloaded(message)
