"""Files, checks of answers and background work, in a real browser on the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.serving import PASSWORD, Server
from tests.page.browser import ENTER, HAS_BROWSER, Browser, Chromium, attached, running_chromium

pytestmark = pytest.mark.skipif(not HAS_BROWSER, reason="Chromium and chromedriver are not installed")

ANSWER = "[...document.querySelectorAll('.answer')].at(-1)"
DONE = f"{ANSWER}?.dataset.phase === 'completed'"
READY = (
    "document.querySelector('#connection').dataset.state === 'open' && document.querySelector('#team').options.length"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with running_chromium() as running:
        yield running


@pytest.fixture
async def page(chromium: Chromium, server: Server) -> AsyncIterator[Browser]:
    async with attached(chromium) as browser:
        await browser.open(server.url)
        await browser.evaluate("localStorage.clear()")
        await browser.open(server.url + "/?again")
        await browser.type("input[name=user_name]", "admin")
        await browser.type("input[name=password]", PASSWORD + ENTER)
        await browser.wait_for(READY)
        yield browser
        assert await browser.console() == []


async def test_a_file_goes_with_a_message_and_is_there_after_a_reload(
    page: Browser, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "näme.txt"
    file.write_text("the sky is green")
    await page.type("#files", str(file))
    await page.wait_for("document.querySelector('#attachments [data-ready=true]')")
    await page.type("#message", "What colour is the sky?" + ENTER)
    await page.wait_for(DONE, 30)
    assert await page.evaluate("document.querySelector('#attachments').hidden")
    assert "the sky is green" in str(await page.evaluate(f"{ANSWER}.textContent"))
    await page.reload()
    assert await page.wait_for("document.querySelector('.files .title')?.textContent") == "näme.txt"
    task_id = str(await page.evaluate("location.hash")).rsplit("/", 1)[-1]
    token = server.login()
    (context,) = server.get(f"/tasks/{task_id}", token)["subtasks"][0]["contexts"]
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
        read = await client.get(f"{server.url}/api/v1/attachments/{context['id']}")
    assert read.text == "the sky is green"


async def test_what_a_task_has_to_look_at_is_a_click_away_also_after_a_reload(page: Browser, server: Server) -> None:
    await page.type("#message", "hello" + ENTER)
    await page.wait_for(DONE, 30)
    task_id = str(await page.evaluate("location.hash")).rsplit("/", 1)[-1]
    headers = {"Authorization": f"Bearer {server.login()}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers, base_url=f"{server.url}/api/v1") as client:
        for name, address, shown in (
            ("site", "http://127.0.0.1:3000/a", ["Open site", "http://127.0.0.1:3000/a"]),
            ("other", "https://example.org/b", ["Open other", "https://example.org/b"]),
            ("trap", "javascript:alert(1)", None),
        ):
            app = {"name": name, "address": "x", "previewUrl": address}
            (await client.post(f"/tasks/{task_id}/app", json=app)).raise_for_status()
            if shown is None:
                await page.wait_for("document.querySelector('#preview').hidden")
                continue
            await page.wait_for(f"document.querySelector('#preview').href === '{shown[1]}'")
            await page.reload()
            await page.wait_for("!document.querySelector('#preview').hidden")
            assert await page.text("#preview") == shown[0]


async def test_a_wrong_answer_is_checked_and_the_better_one_takes_its_place(page: Browser) -> None:
    await page.type("#message", "/echo Six times seven: 6 * 7 = 41." + ENTER)
    await page.wait_for(DONE, 30)
    await page.click("[data-action=correct]")
    await page.wait_for("document.querySelector('[data-action=apply-correction]')", 30)
    assert "7 / 10" in await page.text(".marks")
    await page.click("[data-action=apply-correction]")
    await page.wait_for(f"{ANSWER}.querySelector('.body').textContent.includes('6 * 7 = 42.')")
    await page.reload()
    await page.wait_for("document.querySelector('[data-action=show-correction]')")
    assert "6 * 7 = 42." in str(await page.evaluate(f"{ANSWER}.querySelector('.body').textContent"))
    await page.click("[data-action=show-correction]")
    await page.wait_for("document.querySelector('.issues li')")
    await page.click("[data-action=dismiss-correction]")
    await page.wait_for("document.querySelector('[data-action=correct]')")


async def test_a_message_is_looked_up_in_a_knowledge_base_that_is_chosen(page: Browser, server: Server) -> None:
    token = server.login()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers, base_url=f"{server.url}/api/v1") as client:
        base = (await client.post("/knowledge-bases", json={"name": "Handbook"})).json()
        document = {"title": "Kitchen", "text": "Milk is in the fridge."}
        (await client.post(f"/knowledge-bases/{base['id']}/documents", json=document)).raise_for_status()
        await page.reload()
        await page.wait_for("!document.querySelector('#knowledge-field').hidden")
        chosen = "(select => { select.value = select.options[1].value; })(document.querySelector('#knowledge'))"
        await page.evaluate(chosen)
        await page.type("#message", "Where is the milk?" + ENTER)
        await page.wait_for(DONE, 30)
        assert "Milk is in the fridge." in str(await page.evaluate(f"{ANSWER}.textContent"))
        await page.reload()
        assert await page.wait_for("document.querySelector('.files .title')?.textContent") == "Handbook"
        (await client.delete(f"/knowledge-bases/{base['id']}")).raise_for_status()


async def test_something_is_planned_runs_and_is_forgotten(page: Browser) -> None:
    await page.click("#background summary")
    for prompt, kind in (("Read the news to me", "again"), ("Say hello", "now")):
        await page.click("#new-execution")
        await page.type("[name=prompt]", prompt)
        chosen = "(kind => { kind.value = %r; kind.dispatchEvent(new Event('change', {bubbles: true})); })"
        await page.evaluate(f"{chosen % kind}(document.querySelector('[name=kind]'))")
        await page.click("#execution-form [name=submit]")
        await page.wait_for("!document.querySelector('#execution-dialog').open")
    await page.wait_for("document.querySelector('#execution-list li[data-status=COMPLETED] a')", 30)
    assert "next" in await page.text("#execution-list li[data-status=PENDING] .note")
    await page.click("#execution-list li[data-status=COMPLETED] a")
    await page.wait_for(DONE)
    for left in (1, 0):
        await page.click("#execution-list button")
        await page.wait_for(f"document.querySelectorAll('#execution-list li').length === {left}")
