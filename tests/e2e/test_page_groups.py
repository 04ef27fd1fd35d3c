"""A group chat in a real browser on the real server."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.e2e.serving import PASSWORD, Server
from tests.page.browser import ENTER, HAS_BROWSER, Browser, open_browser

pytestmark = pytest.mark.skipif(not HAS_BROWSER, reason="Chromium and chromedriver are not installed")

READY = (
    "document.querySelector('#connection').dataset.state === 'open' && document.querySelector('#team').options.length"
)
PEOPLE = "[...document.querySelectorAll('#people-list .title')].map(node => node.textContent)"
SAID = "[...document.querySelectorAll('.person')].map(node => node.querySelector('.said').textContent)"
UNREAD = "[...document.querySelectorAll('#task-list .unread')].map(node => node.textContent).join('')"
BOB = "group-bob"


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        await opened.open(server.url)
        await opened.type("input[name=user_name]", "admin")
        await opened.type("input[name=password]", PASSWORD + ENTER)
        await opened.wait_for(READY)
        yield opened


@pytest.fixture
async def bob(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Another user, over REST."""
    add = [sys.executable, "-m", "wegent.cli.main", "user", "add", BOB, "--password-stdin", "--data", str(server.data)]
    await trio.run_process(add, stdin=f"{PASSWORD}\n".encode(), capture_stdout=True)
    headers = {"Authorization": f"Bearer {await trio.to_thread.run_sync(server.login, BOB)}"}
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1", headers=headers, trust_env=False) as client:
        yield client


def is_list(script: str, expected: list[str]) -> str:
    return f"JSON.stringify({script}) === {json.dumps(json.dumps(expected, separators=(',', ':')))}"


async def test_people_come_into_a_chat_talk_and_leave(browser: Browser, bob: httpx.AsyncClient, tmp_path: Path) -> None:
    await browser.type("#message", "welcome" + ENTER)
    await browser.wait_for("document.querySelector('.answer')?.dataset.phase === 'completed'")
    task_id = int(str(await browser.evaluate("location.hash")).rsplit("/", 1)[-1])

    async def say(message: str) -> Any:
        answer = await bob.post(f"/tasks/{task_id}/messages", json={"message": message})
        assert answer.status_code == 201, answer.text

    await browser.click("#people > summary")
    await browser.type("#invite-name", "nobody" + ENTER)
    await browser.wait_for("document.querySelector('#toast').textContent.includes('no user nobody')")
    await browser.type("#invite-name", BOB + ENTER)
    await browser.wait_for(is_list(PEOPLE, ["admin (you)", BOB]))
    await say("hello from bob")
    await browser.wait_for(is_list(SAID, ["welcome", "hello from bob"]))
    await browser.screenshot(tmp_path / "people.png")

    await browser.click("#new-chat")
    await say("are you there?")
    await browser.wait_for(f"{UNREAD} === '1'")
    await browser.screenshot(tmp_path / "unread.png")
    await browser.click("#task-list a")
    await browser.wait_for(f"{UNREAD} === ''")

    assert (await bob.post(f"/tasks/{task_id}/leave")).status_code == 200
    await browser.wait_for(is_list(PEOPLE, ["admin (you)"]))
    assert all("/group-chat" in line for line in await browser.console())  # nobody was invited there
