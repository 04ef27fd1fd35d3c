"""A program under a keeper: a child process whose whole tree ends with it, and with this server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import frozen

from wegent.core.errors import RunFailed
from wegent.executors import keeper
from wegent.executors.exits import Exit
from wegent.executors.lines import LineReader
from wegent.executors.program import Program

_END_S = 6.0
"""How long a keeper may take to kill a tree; it gives up by itself before."""


@frozen
class Limits:
    """What each process of a tree may use; None: as much as the server's own. `memory` and `file` are bytes, `cpu`
    seconds, `files` how many may be open. Memory is what a process may write to of its own (RLIMIT_DATA): not files
    that it maps, nor what it shares.
    """

    memory: int | None = 2 * 1024**3
    cpu: int | None = 3_600
    file: int | None = 4 * 1024**3
    files: int | None = 4_096

    def __attrs_post_init__(self) -> None:
        """Refuse what no program can live with."""
        for name, least in (("memory", 64 * 1024**2), ("cpu", 1), ("file", 0), ("files", 32)):
            value = getattr(self, name)
            if value is not None and value < least:
                message = f"{name} is at least {least}"
                raise ValueError(message)

    def settings(self) -> list[str]:
        """As the keeper is told."""
        named = {"memory": self.memory, "cpu": self.cpu, "file": self.file, "files": self.files}
        return [f"{name}={value}" for name, value in named.items() if value is not None]


class Child(Program):
    """A program that runs. `stdin`, `stdout` and `stderr` are its streams."""

    def __init__(self, process: trio.Process, control: trio.SocketStream) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.stderr: trio.abc.ReceiveStream = process.stderr
        self.pid: int | None = None
        self._process = process
        self._control = control
        self._lines = LineReader()
        self._listening = trio.Lock()
        self._end: Exit | RunFailed | None = None

    async def terminate(self) -> None:
        """Send SIGTERM to the whole tree; to one that has ended it is nothing."""
        await self._ask(b"t")

    async def kill(self) -> None:
        """Send SIGKILL to the whole tree."""
        await self._ask(b"k")

    async def ended(self) -> Exit:
        """How the program ended, once nothing is left of its tree.

        Raises:
            RunFailed: it could not be started, or somebody killed its keeper.
        """
        async with self._listening:
            while (end := self._end) is None:
                await self._listen()
        if isinstance(end, RunFailed):
            raise end
        return end

    async def _listen(self) -> None:
        try:
            data = await self._control.receive_some(1024)
        except trio.BrokenResourceError:
            data = b""
        for line in self._lines.feed(data):
            self._note(line.decode())
        if not data and self._end is None:
            self._end = RunFailed("The process that watches over the runner was killed.", type="killed")

    def _note(self, told: str) -> None:
        what, _, more = told.partition(" ")
        number, _, cause = more.partition(" ")
        match what:
            case "pid":
                self.pid = int(number)
            case "failed":
                self._end = RunFailed(f"The runner can't be started: {more}.", type="runner_exit")
            case "exit":
                self._end = self._end or Exit(code=int(number), out_of_memory=cause == "oom")
            case "signal":
                self._end = self._end or Exit(signal=int(number), out_of_memory=cause == "oom")
            case _:
                self._end = self._end or Exit(signal=signal.SIGKILL)

    async def _ask(self, letter: bytes) -> None:
        try:
            await self._control.send_all(letter)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def aclose(self) -> None:
        """End what is left of the tree, and close everything; takes `_END_S` at most, cancelled or not."""
        with trio.CancelScope(shield=True), trio.move_on_after(_END_S):
            await self._control.aclose()
            await self._process.wait()
        if self._process.returncode is None or self._process.returncode < 0:
            self._end_without_keeper()
            with trio.CancelScope(shield=True):
                await self._process.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            await trio.aclose_forcefully(stream)

    def _end_without_keeper(self) -> None:
        """Somebody killed the keeper: the program died with it, others of its session may be left."""
        self._process.kill()
        if self.pid is not None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                return


@asynccontextmanager
async def open_child(
    program: Sequence[str], *, folder: Path, environment: Mapping[str, str], limits: Limits
) -> AsyncIterator[Child]:
    """A program that runs in `folder` while the block does; when it is left, all of the program's tree is gone.

    Raises:
        RunFailed: there is no such folder.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        command = [sys.executable, "-I", "-S", keeper.__file__, str(fd), *limits.settings(), "--", *program]
        try:
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[fd],
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise RunFailed(f"The runner can't be started: {error.strerror}.", type="runner_exit") from error
        theirs.close()
        ours.setblocking(False)
        child = Child(process, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        try:
            yield child
        finally:
            await child.aclose()
