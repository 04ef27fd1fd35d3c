"""Reads for all plain sockets: one task watches one epoll set, and feeds what arrives to those who want it.

A connection stays a task, with a nursery and a scope of its own; it only does not wake for each message. Registering a
socket once instead of before each read, and no task switch a message, is a good part of what a small request costs.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

import trio
from outcome import Error, Outcome, Value

READ = 65_536
ROUND = 64
"""Sockets that are read before others get their turn."""

Take = Callable[[bytes], bool]
"""Takes what has arrived, plain; False: no more for now, the connection's task has something to do first."""


class Reader:
    """The one task that reads; `run` must be alive as long as there are feeds."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._feeds: dict[int, _Feed] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read until cancelled."""
        task_status.started()
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll)
                for number, _ in self._epoll.poll(0, ROUND):
                    self._read(number)
        finally:
            self._epoll.close()

    async def feed(self, sock: socket.socket, take: Take) -> bool:
        """Give what arrives on `sock` to `take`; True when that has said False, False when the socket has ended.

        What `take` raises is raised here. Cancelled: nothing more is read; what was read has been taken.
        """
        number = sock.fileno()
        self._feeds[number] = _Feed(sock, take)
        self._epoll.register(number, select.EPOLLIN)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(number)
            return trio.lowlevel.Abort.SUCCEEDED

        stopped: bool = await trio.lowlevel.wait_task_rescheduled(abort)
        return stopped

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
            self._end(number, feed, Value(False))
            return
        try:
            go_on = feed.take(data)
        except Exception as error:
            self._end(number, feed, Error(error))
        else:
            if not go_on:
                self._end(number, feed, Value(True))

    def _end(self, number: int, feed: _Feed, result: Outcome[bool]) -> None:
        if self._feeds.get(number) is feed:  # else its task was cancelled by what it took
            self._forget(number)
            trio.lowlevel.reschedule(feed.task, result)

    def _forget(self, number: int) -> None:
        del self._feeds[number]
        self._epoll.unregister(number)


class _Feed:
    __slots__ = ("sock", "take", "task")

    def __init__(self, sock: socket.socket, take: Take) -> None:
        self.sock = sock
        self.take = take
        self.task = trio.lowlevel.current_task()
