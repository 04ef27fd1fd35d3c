"""Several workers on one host: opens the port, starts a process for each, and starts again those that die.

It serves nobody itself. A worker inherits the listening sockets; it has a slot, which is the same over its lives, and
ends when its supervisor does.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio
from attrs import define, frozen

from wegent.core.errors import ConfigError
from wegent.fanout.plugin import MemoryFanoutPlugin
from wegent.presets.assembly import Assembly
from wegent.transports.plugin import ListenerConfig, open_port

log = logging.getLogger(__name__)
MOST = 64
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
"""Seconds before a worker that died is started again."""
SETTLED = 30.0
"""Seconds that a worker has lived, after which its next start is delayed no longer than the first time."""
MARGIN = 10.0
"""Seconds, beyond what it may take to drain and stop, after which a worker is killed."""


@frozen
class Slot:
    """What a worker is told by its supervisor; descriptors are inherited.

    `ready` is written to once it serves; `life` ends when the supervisor does. `peers` is the folder where the workers
    find each other.
    """

    number: int
    listening: tuple[int, ...]
    ready: int
    life: int
    peers: str

    def argument(self) -> str:
        """As an option's value."""
        return json.dumps([self.number, self.listening, self.ready, self.life, self.peers])

    @classmethod
    def of(cls, argument: str) -> Slot:
        """The same back."""
        number, listening, ready, life, peers = json.loads(argument)
        return cls(number, tuple(listening), ready, life, peers)


def check(assembly: Assembly, workers: int) -> None:
    """See that so many workers can share what is configured.

    Raises:
        ConfigError: they can't; the sentence says what is missing.
    """
    if not 1 <= workers <= MOST:
        message = f"--workers takes a number from 1 to {MOST}, not {workers}"
        raise ConfigError(message)
    if any(isinstance(plugin, MemoryFanoutPlugin) for plugin, _ in assembly.plugins):
        message = (
            "several workers need Redis between them; start it, and add to the configuration: "
            '[plugins] add = ["redis"], remove = ["memory"]; [redis] url = "redis://127.0.0.1:6379"'
        )
        raise ConfigError(message)


def supervise(assembly: Assembly, args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Run `args.workers` workers, each started by `argv` and its slot, until a signal; the exit code."""
    [bind] = [section.bind for _, section in assembly.plugins if isinstance(section, ListenerConfig)]
    sockets = open_port(bind)
    with tempfile.TemporaryDirectory(prefix="wegent-") as folder, _life() as (life, _):
        listening = tuple(sock.fileno() for sock in sockets)
        supervisor = Supervisor(argv, listening, life, folder, patience=_patience(assembly))
        return trio.run(supervisor.run, args.workers, sockets, args.data)


def _patience(assembly: Assembly) -> float:
    return assembly.kernel.drain_timeout + assembly.kernel.stop_timeout * len(assembly.plugins) + MARGIN


@contextmanager
def _life() -> Iterator[tuple[int, int]]:
    """A pipe whose reading end ends when this process does, however it ends."""
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@define
class _Worker:
    """A worker's present life."""

    number: int
    process: trio.Process
    since: float


class Supervisor:
    """Starts, watches and ends workers."""

    def __init__(
        self, argv: Sequence[str], listening: tuple[int, ...], life: int, folder: str, *, patience: float
    ) -> None:
        """`patience`: seconds that a worker may take to end."""
        self._argv = argv
        self._listening = listening
        self._life = life
        self._folder = folder
        self._patience = patience
        self._alive: dict[int, _Worker] = {}
        self._stopping = trio.Event()
        self._code = 0

    async def run(self, workers: int, sockets: Sequence[socket.socket], data: Path) -> int:
        """Start the first one, then, once that has made what all need, the others; watch them until a signal."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_on_signal, nursery.cancel_scope)
            await nursery.start(self._keep, 1, nursery.cancel_scope)
            if not self._stopping.is_set():
                for number in range(2, workers + 1):
                    await nursery.start(self._keep, number, nursery.cancel_scope)
                _announce(sockets, workers, data)
        return self._code

    async def _keep(self, number: int, all_of_them: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
        """One slot's lives, one after the other."""
        delay, first = FIRST_DELAY, True
        while True:
            worker, ready = await self._start(number)
            if await _is_ready(ready):
                if first:
                    task_status.started()
                    first = False
                await worker.process.wait()
            code = await worker.process.wait()
            del self._alive[number]
            if self._stopping.is_set():
                break
            if first:  # the others would fail in the same way; its own words have said why
                self._code = code if code > 0 else 1
                await self._end(all_of_them)
                task_status.started()
                return
            delay = FIRST_DELAY if trio.current_time() - worker.since > SETTLED else delay
            log.warning("worker %d %s; it starts again in %g s", number, _how(code), delay)
            await trio.sleep(delay)
            if self._stopping.is_set():
                break
            delay = min(2 * delay, LONGEST_DELAY)
        if first:
            task_status.started()

    async def _start(self, number: int) -> tuple[_Worker, int]:
        reading, writing = os.pipe()
        slot = Slot(number, self._listening, writing, self._life, self._folder)
        try:
            process = await trio.lowlevel.open_process(
                [*self._argv, "--slot", slot.argument()],
                stdin=subprocess.DEVNULL,
                pass_fds=(*self._listening, writing, self._life),
            )
        finally:
            os.close(writing)
        worker = self._alive[number] = _Worker(number, process, trio.current_time())
        if self._stopping.is_set():  # it was begun before, and has heard nothing of it
            process.send_signal(signal.SIGTERM)
        return worker, reading

    async def _end_on_signal(self, all_of_them: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                await self._end(all_of_them)
                return

    async def _end(self, all_of_them: trio.CancelScope) -> None:
        """End all workers in order, and in the end by force."""
        self._stopping.set()
        for worker in self._alive.values():
            worker.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(self._patience):
            while self._alive:
                await next(iter(self._alive.values())).process.wait()
                await trio.sleep(0.01)  # its slot's task notes it
        for worker in self._alive.values():
            log.error("worker %d does not end; it is killed", worker.number)
            worker.process.kill()
        all_of_them.cancel()


async def _is_ready(reading: int) -> bool:
    """Wait until a worker says that it serves; False: it ended before."""
    async with trio.lowlevel.FdStream(reading) as stream:
        return bool(await stream.receive_some(1))


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _announce(sockets: Sequence[socket.socket], workers: int, data: Path) -> None:
    names = [sock.getsockname() for sock in sockets]
    urls = [f"http://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{name[1]}" for name in names]
    sys.stdout.write(f"Wegent listens on {' and '.join(urls)} ({workers} workers; data: {data})\n")
    sys.stdout.flush()
