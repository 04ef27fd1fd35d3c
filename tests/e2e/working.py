"""Programs that work for a server, as processes of a test; and chats with what they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio

from tests.e2e.serving import Server, until
from wegent.client.rest import open_rest
from wegent.client.session import Backoff, Session, open_session
from wegent.client.streams import TaskStream, open_task

QUICK = Backoff(first=0.05, most=0.2)
AGENT = 'process.agents={Recorder="tests.e2e.recording_agent:run", Chat="tests.e2e.recording_agent:run"}'


class Program:
    """A `wegent` command that goes on until it is ended. Its output is kept."""

    def __init__(self, *arguments: str, home: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEGENT", "XDG"))}
        self.output: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wegent.cli.main", *arguments],
            env={**kept, "HOME": str(home), "PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.output.append(line)

    @property
    def text(self) -> str:
        return "".join(self.output)

    def says(self, words: str, *, within: float = 15.0) -> None:
        """Wait until it has said so."""
        until(lambda: words in self.text or self.process.poll() is not None, within=within)
        assert words in self.text, self.text

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM, *, within: float = 30.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(within)

    def wait(self, within: float = 30.0) -> int:
        """The exit code."""
        code = self.process.wait(within)
        self._reader.join(10)
        return code


@contextmanager
def program(*arguments: str, home: Path) -> Iterator[Program]:
    """A program for the time of the block; it ends without a traceback."""
    running = Program(*arguments, home=home)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            running.process.send_signal(signal.SIGTERM)
        try:
            running.end()
        except subprocess.TimeoutExpired:
            running.end(signal.SIGKILL)
        assert "Traceback" not in running.text, running.text


class Chat:
    """A viewer who asks a team, and sees what comes; it survives its server's death."""

    def __init__(self, session: Session, stream: TaskStream, folder: Path) -> None:
        self.session = session
        self.stream = stream
        self.record = folder / "record.txt"
        self.subtask_id = 0

    async def ask(self, team_id: int, *, device_id: str | None = None, **told: Any) -> None:
        message = json.dumps({"record": str(self.record), **told})
        options = {"device_id": device_id} if device_id else {}
        self.subtask_id = (await self.stream.send(team_id, message, **options))["assistant_subtask_id"]

    @property
    def written(self) -> str:
        """What the agent noted."""
        return self.record.read_text() if self.record.exists() else ""

    @property
    def message(self) -> Any:
        return self.stream.task.messages.get(self.subtask_id)

    async def until(self, found: Callable[[Any], bool]) -> Any:
        """The message, as soon as `found` is true of it."""
        with trio.move_on_after(40):
            if self.message is not None and found(self.message):
                return self.message
            async for _ in self.stream:
                if self.message is not None and found(self.message):
                    return self.message
                assert not self._is_over(), self._state()
        raise AssertionError(self._state())

    def _is_over(self) -> bool:
        return self.message is not None and self.message.has_ended and not self.message.truncated

    def _state(self) -> str:
        message = self.message
        how = (message.status, message.error, len(message.content)) if message is not None else None
        return f"{how} after {len(self.written)} were written; the session is {self.session.state}"

    async def until_ended(self) -> Any:
        return await self.until(lambda _: self._is_over())


@asynccontextmanager
async def chatting(server: Server, folder: Path) -> AsyncIterator[Chat]:
    """A chat that answers the skill `place`."""
    async with open_rest(server.url) as rest:
        token = (await rest.login("admin", "correct horse")).token
    async with (
        open_session(server.url, token, backoff=QUICK) as session,
        open_task(session) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_answer_skills, session)
        yield Chat(session, stream, folder)
        nursery.cancel_scope.cancel()


async def _answer_skills(session: Session) -> None:
    with session.subscribe("skill:request") as asked:
        async for event in asked:
            answer = {"request_id": event.data["request_id"], "success": True, "result": {"city": "Köln"}}
            await session.emit("skill:response", answer)


async def team(server: Server, name: str) -> int:
    """The id of the team of that name."""
    async with open_rest(server.url) as rest:
        await rest.login("admin", "correct horse")
        return next(each.id for each in await rest.teams() if each.name == name)


async def restart(server: Server) -> None:
    """Kill the server, and start it on the same port and data."""
    await trio.to_thread.run_sync(server.end, signal.SIGKILL)
    await trio.to_thread.run_sync(server.start)
