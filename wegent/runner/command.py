"""The agent `Command`: runs the message as a shell command in the task's folder, and streams what it prints."""

from __future__ import annotations

import codecs
import math
import os
import shutil
import signal
import subprocess

import trio

from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.runner.ansi import AnsiStripper
from wegent.runner.environment import for_commands
from wegent.runner.job import Job

GRACE_S = 2.0
"""How long a cancelled command has to end by itself."""
LAST_WORDS_S = 1.0
"""How long what a command left running may go on printing after its end, and how long a pipe is waited for then."""
READ = 65_536
"""Bytes of one read; also what may still be in the pipe when all who write to it are gone."""


async def run(job: Job, sink: Sink) -> None:
    """See the module; standard output and error come as they are written, without terminal sequences.

    Raises:
        RunFailed: the command ended with another code than 0 (`runner_exit`), or by a signal (`killed`).
    """
    shell = shutil.which("bash") or "/bin/sh"
    process = await trio.lowlevel.open_process(
        [shell, "-c", job.prompt],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=job.folder,
        env=for_commands(job.task_id),
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        async with process.stdout, trio.open_nursery() as nursery:
            output = _Output(process.stdout)
            nursery.start_soon(output.pass_on, sink)
            await process.wait()
            with trio.move_on_after(LAST_WORDS_S):
                await output.ended.wait()
            _signal(process.pid, signal.SIGKILL)
            output.end_soon()
    finally:
        await _end(process)
    _judge(process.returncode)


class _Output:
    """What a command prints. Once it has ended, what is in the pipe is read, but nobody is waited for."""

    def __init__(self, pipe: trio.abc.ReceiveStream) -> None:
        self.ended = trio.Event()
        self._pipe = pipe
        self._reading = trio.CancelScope()
        self._left: int | None = None

    async def pass_on(self, sink: Sink) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        strip = AnsiStripper().feed
        while data := await self._read():
            if text := strip(decode(data)):
                await sink.text(text)
        if text := strip(decode(b"", True)):
            await sink.text(text)
        self.ended.set()

    def end_soon(self) -> None:
        self._left = READ
        self._reading.deadline = trio.current_time() + LAST_WORDS_S

    async def _read(self) -> bytes:
        most = READ if self._left is None else self._left
        if not most:
            return b""
        deadline = math.inf if self._left is None else trio.current_time() + LAST_WORDS_S
        with trio.CancelScope(deadline=deadline) as self._reading:
            data = bytes(await self._pipe.receive_some(most))
            if self._left is not None:
                self._left -= min(len(data), self._left)
            return data
        return b""


async def _end(process: trio.Process) -> None:
    """Nothing of the command's session is left: it is asked, and then killed."""
    with trio.CancelScope(shield=True):
        if process.returncode is None:
            _signal(process.pid, signal.SIGTERM)
            with trio.move_on_after(GRACE_S):
                await process.wait()
        _signal(process.pid, signal.SIGKILL)
        await process.wait()


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _judge(code: int | None) -> None:
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        message = f"The command was killed by {name}."
        raise RunFailed(message, type="killed")
    if code:
        message = f"The command ended with exit code {code}."
        raise RunFailed(message, type="runner_exit")
