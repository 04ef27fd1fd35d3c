"""Writes for all plain sockets: joins what waits for each into one non-blocking send, in short slices.

Idle, a frame leaves at once. Loaded, text waits for a beat, at which each socket gets all of its in one `send`; the
busier the loop, the longer from beat to beat (`core.load`). Everything else leaves as soon as it can, and takes with it
the text before it.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from math import inf
from time import perf_counter, perf_counter_ns

import trio

from wegent.core.load import Load
from wegent.core.outbox import NOT, NOW, SOON, Drain, Outbox

BATCH = 65_536
"""Bytes of one send at most, but for a single longer frame."""
LEAST_SLICE = 250_000
"""Nanoseconds that the flusher writes before it lets others run; more, if others took longer."""
STRIDE = 16


class Flusher:
    """The one task that writes; `run` must be alive as long as writers are."""

    def __init__(self, load: Load | None = None) -> None:
        self.load = load or Load()
        self._dirty: deque[SocketWriter] = deque()
        self._patient: list[SocketWriter] = []
        self._sleeper: trio.lowlevel.Task | None = None
        self._gathered = trio.lowlevel.ParkingLot()
        self._last_beat = -inf
        self._nursery: trio.Nursery | None = None
        self.blocked = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled."""
        with self.load.measured():
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._beat)
                task_status.started()
                await self._write()

    async def _write(self) -> None:
        others_since = perf_counter_ns()
        while True:
            now = perf_counter_ns()
            self._slice(now + max(LEAST_SLICE, now - others_since))
            others_since = perf_counter_ns()
            if self._dirty:
                await trio.lowlevel.checkpoint()
            else:
                await self._sleep()
                others_since = perf_counter_ns()

    async def _beat(self) -> None:
        while True:
            while not self._patient:
                await self._gathered.park()
            left = self._last_beat + self.load.rest - perf_counter()
            if left > 0:
                await trio.sleep(left)
            self._last_beat = perf_counter()
            writers, self._patient = self._patient, []
            for writer in writers:
                writer.hurry()
            self._wake()

    def _slice(self, end: int) -> None:
        dirty = self._dirty
        while dirty:
            for _ in range(min(STRIDE, len(dirty))):
                dirty.popleft().flush()
            if perf_counter_ns() > end:
                return

    async def _sleep(self) -> None:
        self._sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def enqueue(self, writer: SocketWriter) -> None:
        """There is something to write."""
        self._dirty.append(writer)
        if self._sleeper is not None:
            self._wake()

    def enqueue_text(self, writer: SocketWriter) -> bool:
        """There is text to write. False: not now, the writer's `hurry` is called at the next beat."""
        if self.load.rest:
            if not self._patient:
                self._gathered.unpark()
            self._patient.append(writer)
            return False
        self.enqueue(writer)
        return True

    def _wake(self) -> None:
        if self._sleeper is not None:
            task, self._sleeper = self._sleeper, None
            trio.lowlevel.reschedule(task)

    def park(self, writer: SocketWriter) -> None:
        """The socket takes no more now; go on when it does."""
        assert self._nursery is not None
        self._nursery.start_soon(self._unpark, writer)

    async def _unpark(self, writer: SocketWriter) -> None:
        self.blocked += 1
        try:
            while not writer.failed and not writer.write_rest():
                await trio.lowlevel.wait_writable(writer.sock)
        except (trio.ClosedResourceError, OSError, ValueError):
            writer.fail()
        finally:
            self.blocked -= 1


class SocketWriter(Drain):
    """Empties one outbox into one socket. Nobody else may send on the socket once it exists."""

    __slots__ = ("_box", "_flusher", "_idle", "_on_failure", "_rest", "_send", "failed", "sock")

    def __init__(self, flusher: Flusher, sock: socket.socket, box: Outbox, on_failure: Callable[[], None]) -> None:
        """`on_failure` is plain: it should make the connection's task end."""
        self.sock = sock
        self.failed = False
        self._flusher = flusher
        self._box = box
        self._send = sock.send
        self._rest: memoryview | None = None
        self._idle: trio.Event | None = None
        self._on_failure = on_failure

    def notify(self, outbox: Outbox) -> None:
        """There is something to take."""
        self._flusher.enqueue(self)

    def notify_text(self, outbox: Outbox) -> None:
        """There is text to take, which may wait for the next beat."""
        if self._flusher.enqueue_text(self):
            outbox.scheduled = NOW

    def hurry(self) -> None:
        """The beat: what has waited must wait no more, unless it is gone already."""
        if self._box.scheduled == SOON:
            self._box.schedule()

    def flush(self) -> None:
        """One send of what waits; the outbox counts as scheduled until the socket has taken all of it."""
        box = self._box
        if self.failed or box.drain is not self:
            return
        frames = box.take(BATCH)
        if not frames:
            self._settle()
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.fail()
            return
        if sent == len(data):
            self._settle()
        else:
            self._rest = memoryview(data)[sent:]
            self._flusher.park(self)

    def write_rest(self) -> bool:
        """Go on with a send that was cut short; whether that is done."""
        if self._rest is not None:
            try:
                self._rest = self._rest[self._send(self._rest) :]
            except (BlockingIOError, InterruptedError):
                return False
            if len(self._rest):
                return False
            self._rest = None
        self._settle()
        return True

    def _settle(self) -> None:
        box = self._box
        box.scheduled = NOT
        if box.queue:
            box.schedule()
        elif self._idle is not None:
            self._idle.set()

    def fail(self) -> None:
        """The socket is broken: drop everything, and make the connection end."""
        if not self.failed:
            self.failed = True
            self._rest = None
            self._on_failure()
            if self._idle is not None:
                self._idle.set()

    async def drained(self) -> None:
        """Return when all that was queued is with the operating system, or the socket has failed."""
        while not self.failed and (self._rest is not None or self._box.queue or self._box.scheduled):
            self._idle = trio.Event()
            await self._idle.wait()
