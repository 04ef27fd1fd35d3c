"""`wegent executor` and `wegent serve` as processes, with agents in processes of the host's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from tests.e2e.remote_team import SETTINGS
from tests.e2e.serving import Server, serving
from tests.e2e.working import AGENT, Program, chatting, program, restart, team


def host_token(server: Server, *targets: str) -> str:
    headers = {"Authorization": f"Bearer {server.login()}"}
    answer = httpx.post(f"{server.url}/api/v1/tokens", json={"scope": "executor", "targets": targets}, headers=headers)
    answer.raise_for_status()
    return str(answer.json()["token"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests, the one that kills it included."""
    with serving(tmp_path_factory.mktemp("server"), *SETTINGS) as running:
        yield running


@contextmanager
def hosting(server: Server, home: Path, *options: str) -> Iterator[Program]:
    arguments = ["executor", "--server", server.url, "--token", host_token(server, "gpu"), "--data", str(home / "host")]
    with program(*arguments, "--set", AGENT, *options, home=home) as running:
        running.says("connected")
        yield running


async def test_a_chat_over_an_executor_host_has_all_that_its_agent_says(server: Server, tmp_path: Path) -> None:
    with hosting(server, tmp_path):
        async with chatting(server, tmp_path) as chat:
            await chat.ask(await team(server, "remote"), deltas=30, pause=0.01, skill=True)
            message = await chat.until_ended()
            assert message.status == "COMPLETED", message.error
            assert message.content.value == chat.written
            assert chat.written.endswith("You are in Köln.")
            assert message.thinking.value == "Let me see. 🤔"
            assert [(block["tool_name"], block["status"], block["at"]) for block in message.blocks] == [
                ("search", "done", 0)
            ]
        row = server.get(f"/tasks/{chat.stream.task.task_id}", server.login())["subtasks"][-1]
        assert row["result"]["app"]["name"] == "site"


async def test_a_server_that_is_killed_in_the_middle_gets_the_whole_text(server: Server, tmp_path: Path) -> None:
    with hosting(server, tmp_path):
        async with chatting(server, tmp_path) as chat:
            await chat.ask(await team(server, "remote"), deltas=200, pause=0.02)
            for length in (300, 900):
                await chat.until(lambda message, least=length: len(message.content) > least)
                await restart(server)
            message = await chat.until_ended()
            assert (message.status, message.attempt) == ("COMPLETED", 1), message.error
            assert message.content.value == chat.written
            assert chat.written.count("\n") == 200


async def test_a_cancel_reaches_the_host(server: Server, tmp_path: Path) -> None:
    with hosting(server, tmp_path):
        async with chatting(server, tmp_path) as chat:
            await chat.ask(await team(server, "remote"), deltas=3, pause=0.01, forever=True)
            await chat.until(lambda message: message.content.value.count("\n") == 3)
            await chat.stream.cancel(chat.subtask_id)
            message = await chat.until_ended()
            assert (message.status, message.content.value) == ("CANCELLED", chat.written)


async def test_a_host_that_is_asked_to_end_lets_its_runs_end(server: Server, tmp_path: Path) -> None:
    with hosting(server, tmp_path) as host:
        async with chatting(server, tmp_path) as chat:
            await chat.ask(await team(server, "remote"), deltas=60, pause=0.03)
            await chat.until(lambda message: len(message.content) > 100)
            host.send(signal.SIGTERM)
            await trio.to_thread.run_sync(host.says, "stopping: 1 run may take up to 25 s")
            message = await chat.until_ended()
            assert (message.status, message.content.value) == ("COMPLETED", chat.written)
            assert await trio.to_thread.run_sync(host.wait) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--targets", "tpu"], "this token is for 'gpu', not for 'tpu'"),
        (["--token", "a.eyJzY29wZSI6ImV4ZWN1dG9yIiwidGFyZ2V0cyI6WyJncHUiXX0.c"], "Invalid or expired token"),
    ],
)
def test_what_is_wrong_with_a_host_is_said(server: Server, tmp_path: Path, options: list[str], words: str) -> None:
    arguments = ["executor", "--server", server.url, "--token", host_token(server, "gpu"), *options]
    with program(*arguments, "--data", str(tmp_path / "host"), home=tmp_path) as host:
        assert host.wait() in (1, 2)
        assert (words in host.text, host.text.count("\n")) == (True, 1), host.text
