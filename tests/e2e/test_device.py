"""`wegent device` and `wegent serve` as processes, over connections that break."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from tests.e2e.serving import PASSWORD, Server, serving, until
from tests.e2e.working import AGENT, Chat, Program, chatting, program, restart, team

ID = "desk"
WINDOW_S = 12.0
GRACE_S = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests; a device that is gone is lost after a short window."""
    with serving(tmp_path_factory.mktemp("server"), f"chat.lapses.device={WINDOW_S}") as running:
        yield running


@contextmanager
def device(url: str, home: Path, *options: str) -> Iterator[Program]:
    arguments = ["device", "--server", url, "--user", "admin", "--password", PASSWORD, "--no-save", "--id", ID]
    arguments += ["--name", "Desk", "--data", str(home / "device"), "--set", AGENT, *options]
    with program(*arguments, home=home) as running:
        running.says("Connected to")
        yield running


@asynccontextmanager
async def asked(server: Server, folder: Path, **told: object) -> AsyncIterator[Chat]:
    """A chat whose message has been sent to the device."""
    async with chatting(server, folder) as chat:
        await chat.ask(await team(server, "assistant"), device_id=ID, **told)
        yield chat


class Wire:
    """A TCP proxy in front of a server, that can be cut."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connections: set[trio.CancelScope] = set()
        self.up = True
        self.url = ""

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        await trio.serve_listeners(self._connect, listeners, task_status=task_status)

    async def _connect(self, client: trio.SocketStream) -> None:
        if not self.up:
            return
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self._server.port)
                async with server, trio.open_nursery() as nursery:
                    nursery.start_soon(_copy, client, server, scope)
                    nursery.start_soon(_copy, server, client, scope)
            finally:
                self._connections.discard(scope)

    def cut(self) -> None:
        """End all connections, and take no new ones."""
        self.up = False
        for scope in self._connections:
            scope.cancel()


async def _copy(source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        async for data in source:
            await target.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


async def test_a_chat_on_a_device_has_all_that_its_agent_says(server: Server, tmp_path: Path) -> None:
    with device(server.url, tmp_path) as desk:
        async with asked(server, tmp_path, deltas=30, pause=0.01, skill=True) as chat:
            message = await chat.until_ended()
            assert message.status == "COMPLETED", message.error
            assert message.content.value == chat.written
            assert chat.written.endswith("You are in Köln.")
            assert message.thinking.value == "Let me see. 🤔"
            assert [(block["tool_name"], block["status"], block["at"]) for block in message.blocks] == [
                ("search", "done", 0)
            ]
        desk.says("COMPLETED")


async def test_a_server_that_is_killed_in_the_middle_gets_the_whole_text(server: Server, tmp_path: Path) -> None:
    with device(server.url, tmp_path):
        async with asked(server, tmp_path, deltas=200, pause=0.02) as chat:
            for length in (300, 900):
                await chat.until(lambda message, least=length: len(message.content) > least)
                await restart(server)
            message = await chat.until_ended()
            assert (message.status, message.attempt) == ("COMPLETED", 1), message.error
            assert message.content.value == chat.written
            assert chat.written.count("\n") == 200


async def test_a_connection_that_is_away_within_the_window_costs_nothing(server: Server, tmp_path: Path) -> None:
    wire = Wire(server)
    async with trio.open_nursery() as nursery:
        await nursery.start(wire.serve)
        program = await trio.to_thread.run_sync(lambda: Started(wire.url, tmp_path))
        try:
            async with asked(server, tmp_path, deltas=200, pause=0.02) as chat:
                await chat.until(lambda message: len(message.content) > 300)
                wire.cut()
                await trio.sleep(GRACE_S + 0.5)
                assert chat.message.status == "RUNNING"
                wire.up = True
                message = await chat.until_ended()
                assert (message.status, message.attempt) == ("COMPLETED", 1), message.error
                assert message.content.value == chat.written
        finally:
            await trio.to_thread.run_sync(program.stop)
        nursery.cancel_scope.cancel()


class Started:
    """A device that runs while the loop here serves what it talks through."""

    def __init__(self, url: str, home: Path) -> None:
        self._context = device(url, home)
        self.program = self._context.__enter__()

    def stop(self) -> None:
        self._context.__exit__(None, None, None)


async def test_a_run_whose_device_is_killed_fails_when_its_window_is_over(server: Server, tmp_path: Path) -> None:
    with device(server.url, tmp_path) as desk:
        async with asked(server, tmp_path, deltas=10, pause=0.01, forever=True) as chat:
            await chat.until(lambda message: message.content.value.count("\n") == 10)
            await trio.to_thread.run_sync(desk.end, signal.SIGKILL)
            message = await chat.until_ended()
            assert (message.status, message.error_type) == ("FAILED", "device_lost")
            assert message.content.value == chat.written


async def test_a_device_that_was_killed_and_started_says_that_it_lost_its_run(server: Server, tmp_path: Path) -> None:
    with device(server.url, tmp_path) as desk:
        async with asked(server, tmp_path, deltas=10, pause=0.01, forever=True) as chat:
            await chat.until(lambda message: message.content.value.count("\n") == 10)
            await trio.to_thread.run_sync(desk.end, signal.SIGKILL)
            with device(server.url, tmp_path):
                message = await chat.until_ended()
            assert (message.status, message.error_type) == ("FAILED", "device_lost")
            assert message.error == "The device Desk was started anew, and does not have this run any more."


def chat(server: Server, home: Path, *options: str) -> AbstractContextManager[Program]:
    """`wegent chat` into a pipe."""
    return program(
        "chat", "--server", server.url, "--user", "admin", "--password", PASSWORD, "--no-save", *options, home=home
    )


def test_a_chat_from_the_command_line_is_done_on_a_device_and_says_when_it_waits(
    server: Server, tmp_path: Path
) -> None:
    first, second = (json.dumps({"record": str(tmp_path / name), "deltas": 1, "pause": 8}) for name in ("a", "b"))
    with device(server.url, tmp_path, "--slots", "1") as desk:
        with chat(server, tmp_path, "--device", ID, first) as one:
            desk.says("▶")
            with chat(server, tmp_path, "--device", ID, second) as two:
                two.says("wegent: nobody has begun to answer yet; the message waits in the queue\n")
                assert (one.wait(), two.wait()) == (0, 0)
        assert "waits" not in one.text
        assert two.text.count("waits in the queue") == 1
        assert (tmp_path / "b").read_text() in two.text


def test_a_device_that_is_offline_or_not_there_is_told_as_the_server_says_it(tmp_path: Path) -> None:
    def refused(name: str) -> str:
        with chat(server, tmp_path, "--device", name, "hi") as asked:
            assert asked.wait() == 1
            return asked.text

    with serving(tmp_path / "server", "chat.lapses.device=5.5") as server:
        assert refused("none") == "wegent: there is no device 'none' of yours\n"
        with device(server.url, tmp_path):
            pass
        offline = "wegent: the device 'Desk' is offline; start it, or send the message elsewhere\n"
        until(lambda: refused(ID) == offline, within=20)


async def test_a_cancel_reaches_the_device(server: Server, tmp_path: Path) -> None:
    with device(server.url, tmp_path):
        async with asked(server, tmp_path, deltas=3, pause=0.01, forever=True) as chat:
            await chat.until(lambda message: message.content.value.count("\n") == 3)
            await chat.stream.cancel(chat.subtask_id)
            message = await chat.until_ended()
            assert (message.status, message.content.value) == ("CANCELLED", chat.written)


async def test_a_device_that_is_stopped_twice_fails_its_runs_at_once(server: Server, tmp_path: Path) -> None:
    with device(server.url, tmp_path) as desk:
        async with asked(server, tmp_path, deltas=3, pause=0.01, forever=True) as chat:
            await chat.until(lambda message: message.content.value.count("\n") == 3)
            desk.send(signal.SIGINT)
            await trio.to_thread.run_sync(
                desk.says, "stopping: 1 run may take up to 25 s; press Ctrl-C again to end it now"
            )
            await trio.sleep(1)
            assert chat.message.status == "RUNNING"
            desk.send(signal.SIGINT)
            message = await chat.until_ended()
            assert (message.status, message.error) == ("FAILED", "The device Desk was stopped.")
            assert await trio.to_thread.run_sync(desk.wait) == 0


def test_a_second_device_of_the_same_id_takes_the_place_of_the_first(server: Server, tmp_path: Path) -> None:
    with device(server.url, tmp_path / "one") as first, device(server.url, tmp_path / "two"):
        first.says("Another connection has registered as this device")
        assert first.wait() == 1
        assert [line.partition(" ")[0] for line in first.output] == ["Connected", "wegent:"], first.text


def test_a_token_of_another_device_is_told_alone(server: Server, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {server.login()}"}
    asked = {"scope": "device", "device_id": "laptop"}
    answer = httpx.post(f"{server.url}/api/v1/tokens", json=asked, headers=headers).raise_for_status()
    arguments = ["--server", server.url, "--token", answer.json()["token"], "--id", ID, "--data", str(tmp_path / "d")]
    with program("device", *arguments, home=tmp_path) as desk:
        assert desk.wait() == 1
        assert desk.text.startswith("wegent: ")
        assert "laptop" in desk.text
        assert desk.text.count("\n") == 1
