"""`wegent chat-shell` as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.engines.remote import RemoteConfig, RemoteEngine
from wegent.protocol.chat_shell import ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.testing.sinks import MemorySink

COMMAND = [sys.executable, "-m", "wegent.cli.main", "chat-shell"]


def asked(message: str) -> ResponseRequest:
    return ResponseRequest(
        model_config=ModelConfig(model_id="m"),
        messages=(ModelMessage(role="user", content=message),),
        metadata=ResponseMetadata(request_id="r1"),
    )


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[tuple[str, trio.Process]]:
    process = await trio.lowlevel.open_process(
        [*COMMAND, "--bind", "127.0.0.1:0", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(30):
            told = b""
            while b"\n" not in told:
                data = await process.stdout.receive_some()
                assert data, "the process ended"
                told += data
        found = re.search(r"http://\S+(?=:)", told.decode())
        assert found
        yield found[0], process
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()


async def test_it_says_where_it_listens_and_answers_there() -> None:
    async with running("--token", "t", "--pace", "0") as (url, process):
        async with RemoteEngine.open(RemoteConfig(url=url, token="t")) as engine:
            await engine.run(asked("/echo hi there"), sink := MemorySink())
        assert sink.content == "hi there"
        async with RemoteEngine.open(RemoteConfig(url=url, token="no")) as engine:
            with pytest.raises(RunFailed):
                await engine.run(asked("/echo hi there"), MemorySink())
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(30):
            assert await process.wait() == 0


async def test_a_chat_that_is_on_is_finished_before_the_process_ends() -> None:
    async with running("--pace", "40") as (url, process), RemoteEngine.open(RemoteConfig(url=url)) as engine:
        sink = MemorySink()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, asked("/echo " + "word " * 30 + "end"), sink)
            await sink.wait_for("word")
            process.send_signal(signal.SIGTERM)
        assert sink.content.endswith("end")
        with trio.fail_after(30):
            assert await process.wait() == 0


@pytest.mark.parametrize(
    "options", [["--bind", "127.0.0.1:99999"], ["--bind", "nowhere.invalid:1"], ["--max-chats", "0"]]
)
def test_wrong_options_are_told_in_one_line(options: list[str]) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("wegent: ")
    assert done.stderr.count("\n") == 1
