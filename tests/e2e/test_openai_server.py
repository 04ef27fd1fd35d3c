"""The engine `openai` against a real server of that interface: LiteLLM's proxy, a process of its own.

It answers with set texts, so it needs neither weights nor a network. It is installed once, into an environment of
its own below the user's cache folder; where that can't be done the tests are skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from socket import socket
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.protocol.chat_shell import ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.testing.sinks import MemorySink

PACKAGE = "litellm[proxy]==1.106.2"
KEY = "sk-0123456789abcdef0123456789abcdef"
TEXT = "Grüße 👩‍👩‍👧‍👦 e\u0301 n\u0303 漢字かな 🇫🇷 𠮷 नमस्ते — whole. " * 20
LONG = "ab漢👋 " * 4_000


def environment() -> Path:
    """The Python that has the server; installs it at first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wegent-tests"
    home = cache / PACKAGE.replace("[proxy]==", "-")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            venv.create(home, with_pip=True, clear=True)
            install = [home / "bin" / "python", "-m", "pip", "install", "-q", "--retries", "1", PACKAGE]
            done = subprocess.run(install, capture_output=True, text=True, timeout=600)
            if done.returncode != 0:
                pytest.skip(f"{PACKAGE} can't be installed: {done.stderr.strip()[-300:]}")
            (home / "installed").touch()
    return home / "bin" / "python"


def model(name: str, answer: str) -> dict[str, Any]:
    return {
        "model_name": name,
        "litellm_params": {"model": "openai/mock", "api_key": "none", "mock_response": answer},
    }


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = environment()
    folder = tmp_path_factory.mktemp("litellm")
    models = [model("said", TEXT), model("long", LONG), model("busy", "litellm.RateLimitError")]
    settings = {
        "model_list": models,
        "general_settings": {"master_key": KEY},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }
    config = folder / "config.yaml"  # JSON is YAML, but for the halves of surrogate pairs
    config.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-c", "from litellm import run_server; run_server()"]
    options = ["--config", config, "--host", "127.0.0.1", "--port", str(port)]
    variables = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(folder), "PYTHONWARNINGS": "ignore"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log, env=variables, cwd=folder)
        try:
            wait_until_up(process, f"http://127.0.0.1:{port}", folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()


def wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = monotonic() + 120
    while monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/liveliness", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def asking(base_url: str, name: str) -> ResponseRequest:
    return ResponseRequest(
        model_config=ModelConfig(model_id=name, base_url=base_url, api_key=KEY),
        messages=(ModelMessage(role="user", content="Hello"),),
        metadata=ResponseMetadata(request_id="r1"),
    )


def connections_to(port: int) -> int:
    """Established connections to a port of the loopback, as the kernel lists them (proc(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "01" and int(row[2].rpartition(":")[2], 16) == port for row in rows)


async def test_text_of_all_kinds_arrives_whole(base_url: str) -> None:
    async with OpenAIEngine.open(OpenAIConfig()) as engine:
        completion = await engine.run(asking(base_url, "said"), sink := MemorySink())
    assert sink.content == TEXT
    assert len(sink.calls) > 1
    assert completion.stop_reason == "stop"
    assert completion.usage["total_tokens"] > 0


async def test_answers_side_by_side_do_not_mix(base_url: str) -> None:
    sinks = [MemorySink() for _ in range(8)]
    async with OpenAIEngine.open(OpenAIConfig()) as engine, trio.open_nursery() as nursery:
        for sink in sinks:
            nursery.start_soon(engine.run, asking(base_url, "said"), sink)
    assert all(sink.content == TEXT for sink in sinks)


async def test_cancelling_closes_the_connection_and_keeps_what_was_said(base_url: str) -> None:
    port = int(base_url.rpartition(":")[2].removesuffix("/v1"))
    sink = MemorySink()
    async with OpenAIEngine.open(OpenAIConfig()) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, asking(base_url, "long"), sink)
            await sink.wait_for("ab漢👋 ab漢👋")
            assert connections_to(port) == 1
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):
            while connections_to(port):  # noqa: ASYNC110 - the kernel has no event for it
                await trio.sleep(0.02)
    assert 0 < len(sink.content) < len(LONG)
    assert LONG.startswith(sink.content)


async def test_a_refusal_says_what_the_server_said(base_url: str) -> None:
    async with OpenAIEngine.open(OpenAIConfig(backoff_s=0.01, max_retries=1)) as engine:
        with pytest.raises(RunFailed, match=r"429.*mock rate limit error"):
            await engine.run(asking(base_url, "busy"), MemorySink())
        with pytest.raises(RunFailed, match="Invalid model name"):
            await engine.run(asking(base_url, "nobody-knows-it"), MemorySink())
