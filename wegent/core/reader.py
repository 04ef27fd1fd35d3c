"""Reads for many plain sockets: one task watches one epoll set, and feeds what arrives to those who want it.

A connection stays a task; it only does not wake for each message. Registering a socket once instead of before each
read, and no task switch a message, is a good part of what a small message costs.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from math import inf
from time import perf_counter

import trio

from wegent.core.load import Load

READ = 65_536
ROUND = 64
"""Sockets that are read before others get their turn."""
MOST = 4_096
"""Sockets that one look at the epoll set tells of."""

Take = Callable[[bytes], bool]
"""Takes what has arrived, plain; False: no more for now, the connection's task has something to do first."""


class Reader:
    """The one task that reads; `run` must be alive as long as there are feeds."""

    def __init__(self, load: Load | None = None, rest: float = 0.0) -> None:
        """`rest`: seconds from one round to the next, as `load` needs them; what arrives meanwhile is one piece."""
        self._epoll = select.epoll()
        self._feeds: dict[int, _Feed] = {}
        self._load = load or Load()
        self._rest = rest

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled."""
        task_status.started()
        began = -inf
        try:
            while True:
                left = began + self._rest * self._load.need - perf_counter()
                if left > 0:
                    await trio.sleep(left)
                await trio.lowlevel.wait_readable(self._epoll)
                began = perf_counter()
                await self._round([number for number, _ in self._epoll.poll(0, MOST)])
        finally:
            for number, feed in list(self._feeds.items()):
                self._end(number, feed)  # nobody waits for what nobody reads
            self._epoll.close()

    async def _round(self, numbers: list[int]) -> None:
        for start in range(0, len(numbers), ROUND):
            if start:
                await trio.lowlevel.checkpoint()
            for number in numbers[start : start + ROUND]:
                self._read(number)

    async def feed(self, sock: socket.socket, take: Take) -> bool:
        """Give what arrives on `sock` to `take`; True when that has said False, False when the socket has ended.

        What `take` raises is raised here. Cancelled: nothing more is read; what was read has been taken.
        """
        number = sock.fileno()
        feed = self._feeds[number] = _Feed(self, number, sock, take)
        self._epoll.register(number, select.EPOLLIN)
        await trio.lowlevel.wait_task_rescheduled(feed.abort)
        if feed.failure is not None:
            raise feed.failure
        return feed.stopped

    def stop(self, sock: socket.socket) -> None:
        """End the feed of that socket, if it has one, as if the socket had ended; plain."""
        number = sock.fileno()
        feed = self._feeds.get(number)
        if feed is not None:
            self._end(number, feed)

    def _read(self, number: int) -> None:
        feed = self._feeds.get(number)
        if feed is None:
            return
        try:
            data = feed.sock.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end(number, feed)
            return
        try:
            if feed.take(data):
                return
            feed.stopped = True
        except Exception as error:
            feed.failure = error
        self._end(number, feed)

    def _end(self, number: int, feed: _Feed) -> None:
        if self._feeds.get(number) is feed:  # else its task was cancelled by what it took
            self._forget(number)
            trio.lowlevel.reschedule(feed.task)

    def _forget(self, number: int) -> None:
        del self._feeds[number]
        self._epoll.unregister(number)


class _Feed:
    __slots__ = ("failure", "number", "reader", "sock", "stopped", "take", "task")

    def __init__(self, reader: Reader, number: int, sock: socket.socket, take: Take) -> None:
        self.reader = reader
        self.number = number
        self.sock = sock
        self.take = take
        self.task = trio.lowlevel.current_task()
        self.stopped = False
        self.failure: Exception | None = None

    def abort(self, _: object) -> trio.lowlevel.Abort:
        self.reader._forget(self.number)
        return trio.lowlevel.Abort.SUCCEEDED
