"""The page in a real browser on the real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import attrs
import httpx
import pytest

from tests.page.browser import ENTER, HAS_BROWSER, Browser, Chromium, attached, free_port, running_chromium

pytestmark = pytest.mark.skipif(not HAS_BROWSER, reason="Chromium and chromedriver are not installed")

PASSWORD = "correct horse"
ANSWER = "[...document.querySelectorAll('.answer')].at(-1)"
TEXT = f"[...{ANSWER}.querySelectorAll('.md')].map(node => node.textContent).join('')"
STATE = "document.querySelector('#connection').dataset.state"
READY = f"{STATE} === 'open' && document.querySelector('#team').options.length > 0"


def phase(name: str) -> str:
    return f"{ANSWER}?.dataset.phase === '{name}'"


def squeezed(text: str) -> str:
    return "".join(text.split())


@attrs.define(eq=False)
class Server:
    """A server process on data that outlives it."""

    data: Path
    log: IO[bytes]
    port: int = attrs.field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it says where it listens."""
        options = ["--bind", f"127.0.0.1:{self.port}", "--data", str(self.data)]
        command = [sys.executable, "-m", "wegent.cli.main", "serve", *options]
        env = {**os.environ, "WEGENT_ADMIN_PASSWORD": PASSWORD}
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=self.log)
        assert self.process.stdout is not None
        assert any(b"listens on" in line for line in iter(self.process.stdout.readline, b""))

    def end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.communicate(timeout=30)
            self.process = None


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with running_chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page-server")
    with (folder / "server.log").open("wb") as log:
        running = Server(folder / "data", log)
        running.start()
        try:
            yield running
        finally:
            running.end(signal.SIGTERM)


@attrs.frozen
class Visit:
    """A logged-in browser on a new chat."""

    browser: Browser
    server: Server

    async def say(self, text: str) -> None:
        await self.browser.type("#message", text + ENTER)

    async def shown(self) -> str:
        return squeezed(str(await self.browser.evaluate(TEXT)))

    async def stored(self) -> str:
        """The text of the last answer's row, as REST has it."""
        task_id = str(await self.browser.evaluate("location.hash")).rsplit("/", 1)[-1]
        async with httpx.AsyncClient(base_url=f"{self.server.url}/api/v1", trust_env=False) as client:
            who = {"user_name": "admin", "password": PASSWORD}
            token = (await client.post("/auth/login", json=who)).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            rows = (await client.get(f"/tasks/{task_id}", headers=headers)).json()["subtasks"]
        return squeezed(str(rows[-1]["result"]["value"]))


@pytest.fixture
async def visit(chromium: Chromium, server: Server) -> AsyncIterator[Visit]:
    async with attached(chromium) as browser:
        await browser.open(server.url)
        await browser.evaluate("localStorage.clear()")
        await browser.open(server.url + "/?again")
        await browser.type("input[name=user_name]", "admin")
        await browser.type("input[name=password]", PASSWORD + ENTER)
        await browser.wait_for(READY)
        yield Visit(browser, server)


async def test_an_answer_streams_and_a_reload_in_the_middle_comes_back_to_all_of_it(
    visit: Visit, tmp_path: Path
) -> None:
    words = " ".join(f"{n}👩‍🚀e\u0301漢" for n in range(90))
    await visit.say(f"/echo {words}")
    await visit.browser.wait_for(f"{TEXT}.length > 200")
    await visit.browser.reload()
    await visit.browser.wait_for(f"{TEXT}.length > 200")
    assert await visit.browser.evaluate(phase("streaming"))
    picture = await visit.browser.screenshot(tmp_path / "reloaded.png")
    assert picture.stat().st_size > 10_000
    await visit.browser.wait_for(phase("completed"), 60)
    shown = await visit.shown()
    assert shown == await visit.stored()
    assert shown == squeezed(words)
    assert await visit.browser.console() == []


async def test_thinking_tools_and_markdown_of_an_answer_are_there_again_after_a_reload(visit: Visit) -> None:
    await visit.say("Hello **there** 👩‍🚀")
    await visit.browser.wait_for(phase("completed"), 60)
    before = await visit.browser.evaluate(f"{ANSWER}.querySelector('.body').textContent")
    await visit.browser.reload()
    await visit.browser.wait_for(phase("completed"))
    assert await visit.browser.evaluate(f"{ANSWER}.querySelector('.body').textContent") == before
    for selector in (".thinking:not([hidden])", ".tool[data-state=done]"):
        assert await visit.browser.evaluate(f"!!{ANSWER}.querySelector('{selector}')"), selector
    assert await visit.browser.console() == []


async def test_a_run_is_stopped_from_the_page(visit: Visit) -> None:
    await visit.say("/long 2000")
    await visit.browser.wait_for(f"{TEXT}.length > 100")
    await visit.browser.click("#stop")
    await visit.browser.wait_for(phase("cancelled"))
    assert await visit.shown() == await visit.stored()


async def test_a_failed_answer_keeps_its_text_and_says_why(visit: Visit) -> None:
    await visit.say("/error")
    await visit.browser.wait_for(phase("error"), 30)
    assert "asked to" in await visit.browser.text(".failure")
    assert "This sentence is kept" in str(await visit.browser.evaluate(TEXT))


async def test_an_answer_that_was_stopped_is_tried_again(visit: Visit) -> None:
    await visit.say("/long 80")
    await visit.browser.wait_for(f"{TEXT}.length > 20")
    await visit.browser.click("#stop")
    await visit.browser.wait_for(phase("cancelled"))
    stopped = await visit.shown()
    await visit.browser.click(".answer [data-action=retry]")
    await visit.browser.wait_for(phase("completed"), 60)
    whole = await visit.shown()
    assert whole == await visit.stored()
    assert len(whole) > len(stopped)
    assert await visit.browser.evaluate("document.querySelectorAll('.answer').length") == 1
    assert await visit.browser.console() == []


async def test_a_server_that_is_killed_and_starts_again_finds_the_page_waiting(visit: Visit) -> None:
    await visit.say("/long 2000")
    await visit.browser.wait_for(f"{TEXT}.length > 500")
    visit.server.end(signal.SIGKILL)
    await visit.browser.wait_for(f"{STATE} !== 'open'")
    visit.server.start()
    await visit.browser.wait_for(phase("error"), 40)
    assert await visit.browser.text(".failure code") == "worker_lost"
    assert await visit.shown() == await visit.stored()
    await visit.say("/echo still here")
    await visit.browser.wait_for(f"{TEXT} === 'still here'")
