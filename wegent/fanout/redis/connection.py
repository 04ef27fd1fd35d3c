"""One connection to Redis: commands go out joined, replies come back in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import hiredis
import trio

from wegent.core.errors import BrokerAway

READ = 65_536
WRITE = 262_144
BEAT = 0.004
"""Seconds between two writes: what is given meanwhile leaves in one, and costs us, the server and those it tells one
system call instead of many. What comes after a longer silence leaves at once, and so does what somebody waits for.
"""
GRACE = 0.05
"""Seconds that a late reply has once more: it may be this process that was late in reading it."""
_NOTHING = object()
_pack: Callable[[tuple[str | bytes | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
Reply = Any
"""Bytes, int, None, a list of these, or `hiredis.ReplyError`."""


Receiver = Callable[[Reply | Exception], None]
"""Is told of a reply, or why there is none, `hiredis.ReplyError` or `BrokerAway`; plain."""


class Pending:
    """A command under way; awaited at most once. Who is cancelled meanwhile leaves its place: the reply is dropped."""

    __slots__ = ("_outcome", "_task")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._outcome: Reply | Exception = _NOTHING

    def settle(self, outcome: Reply | Exception) -> None:
        """The reply, or why there is none."""
        self._outcome = outcome
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def __await__(self) -> Generator[Any, Any, Reply]:
        return self._wait().__await__()

    async def _wait(self) -> Reply:
        if self._outcome is _NOTHING:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._left)
        else:
            await trio.lowlevel.checkpoint()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _left(self, _: Any) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Connection:
    """Commands and replies on one stream. `lost` says why it is of no more use, `closed` is set then.

    Commands of one moment, or of one beat after a write, leave in one write. A server that owes a reply and sends
    nothing for `timeout` seconds counts as hung; one that owes nothing is asked for a sign of life every half of that.
    `pushed` takes what is no reply, and says whether it was that: messages of a connection that subscribes.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        timeout: float,
        most: int,
        pushed: Callable[[Any], bool] | None = None,
    ) -> None:
        """`most`: bytes that may wait to be sent before `room` waits."""
        self.lost: str | None = None
        self.closed = trio.Event()
        self._stream = stream
        self._timeout = timeout
        self._most = most
        self._pushed = pushed
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._out: list[bytes] = []
        self._size = 0
        self._waiting: deque[Receiver | None] = deque()
        self._since = 0.0
        """When the last sign of life came, or the first command that waits for its reply was given."""
        self._work = trio.lowlevel.ParkingLot()
        self._hurry = trio.lowlevel.ParkingLot()
        self._urgent = False
        """Whether somebody waits for the reply to what is to be sent."""
        self._room = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()

    @property
    def full(self) -> bool:
        """Whether more waits to be sent than should."""
        return self._size >= self._most

    async def room(self) -> None:
        """Wait while the connection is full.

        Raises:
            BrokerAway: it is lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self.full and self.lost is None:
            await self._room.park()
        self._check()

    def post(self, *command: str | bytes | int) -> Pending:
        """Send a command and be told of its reply. Plain: commands are carried out in the order of these calls.

        Raises:
            BrokerAway: the connection is lost.
        """
        pending = Pending()
        self._queue(command, pending.settle)
        self._urgent = True
        if self._hurry:
            self._hurry.unpark()
        return pending

    def post_to(self, receiver: Receiver, *command: str | bytes | int) -> None:
        """The same for a receiver of one's own; raises as `post` does, and then tells it nothing."""
        self._queue(command, receiver)

    def post_blind(self, *command: str | bytes | int) -> None:
        """The same for a command whose reply nobody wants to know."""
        self._queue(command, None)

    async def call(self, *command: str | bytes | int) -> Reply:
        """Send a command and wait for its reply.

        Raises:
            BrokerAway: the connection is lost, and the command may have been carried out or not.
            hiredis.ReplyError: the server refused it.
        """
        await self.room()
        return await self.post(*command)

    def close(self, reason: str) -> None:
        """Let go: who waits for a reply is told that there will be none."""
        if self.lost is None:
            self.lost = reason
            self.closed.set()
            self._scope.cancel()
            while self._waiting:
                if (receiver := self._waiting.popleft()) is not None:
                    receiver(_away(reason))
            self._out.clear()
            self._room.unpark_all()

    async def run(self) -> None:
        """Carry until the connection is lost."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._carry, self._read)
                    nursery.start_soon(self._carry, self._write)
                    nursery.start_soon(self._carry, self._watch)
        finally:
            self.close("the connection was closed")
            await trio.aclose_forcefully(self._stream)

    def _check(self) -> None:
        if self.lost is not None:
            raise _away(self.lost)

    def _queue(self, command: tuple[str | bytes | int, ...], receiver: Receiver | None) -> None:
        self._check()
        packed = _pack(command)
        if not self._waiting:
            self._since = trio.current_time()
        self._waiting.append(receiver)
        self._out.append(packed)
        self._size += len(packed)
        if self._work:
            self._work.unpark()

    async def _carry(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self.close(f"the connection broke: {error.__cause__ or error}")
        except hiredis.ProtocolError as error:
            self.close(f"what the server sent is not Redis's protocol: {error}")

    async def _read(self) -> None:
        receive, reader = self._stream.receive_some, self._reader
        while data := await receive(READ):
            self._since = trio.current_time()
            reader.feed(bytes(data))
            while (reply := reader.gets()) is not _NOTHING:
                self._take(reply)
        self.close("the server closed the connection")

    def _take(self, reply: Reply) -> None:
        if self._pushed is not None and self._pushed(reply):
            return
        if not self._waiting:
            self.close(f"the server sent what nobody asked for: {str(reply)[:80]}")
            return
        receiver = self._waiting.popleft()
        if receiver is not None:
            receiver(reply)

    async def _write(self) -> None:
        next_write = 0.0
        while True:
            while not self._out:
                await self._work.park()
            if not self._urgent and self._size < WRITE and trio.current_time() < next_write:
                with trio.move_on_at(next_write):
                    await self._hurry.park()
            self._urgent = False
            next_write = trio.current_time() + BEAT
            data = b"".join(self._out)
            self._out.clear()
            for start in range(0, len(data), WRITE):
                piece = data[start : start + WRITE] if len(data) > WRITE else data
                await self._stream.send_all(piece)
                self._size -= len(piece)
                if len(data) > WRITE:  # the server is reading: that is a sign of life too
                    self._since = trio.current_time()
                if not self.full:
                    self._room.unpark_all()

    async def _watch(self) -> None:
        while True:
            soon = trio.current_time() + self._timeout / 2
            await trio.sleep_until(min(soon, self._since + self._timeout) if self._waiting else soon)
            if not self._waiting:
                self.post_blind("PING")
            elif self._late():
                await trio.sleep(GRACE)
                if self._late():
                    self.close(f"no reply within {self._timeout:g} s")

    def _late(self) -> bool:
        return bool(self._waiting) and trio.current_time() >= self._since + self._timeout


def _away(reason: str) -> BrokerAway:
    return BrokerAway(f"Redis is away: {reason}")
