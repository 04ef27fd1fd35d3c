"""The page in a real browser, against a stand-in server that can be made to misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest

from tests.page.browser import ENTER, HAS_BROWSER, NULL, SHIFT, Browser, Chromium, attached, running_chromium
from tests.page.fake_server import Fake, Row, fake_server

pytestmark = pytest.mark.skipif(not HAS_BROWSER, reason="Chromium and chromedriver are not installed")

STATE = "document.querySelector('#connection').dataset.state"
ANSWER = "[...document.querySelectorAll('.answer')].at(-1)"
SHOWN = f"{ANSWER}.querySelector('.body').textContent"
CONNECTED = f"{STATE} === 'open' && document.querySelector('#team').options.length > 0"
WATCH_FRAMES = """(() => {
    window.longest = 0;
    let last = performance.now();
    const frame = () => {
        const now = performance.now();
        window.longest = Math.max(window.longest, now - last);
        last = now;
        requestAnimationFrame(frame);
    };
    frame();
})()"""


def phase(name: str) -> str:
    return f"{ANSWER}?.dataset.phase === '{name}'"


@attrs.frozen
class Visit:
    """A logged-in browser on the stand-in."""

    browser: Browser
    fake: Fake
    url: str

    async def say(self, text: str) -> None:
        await self.browser.type("#message", text + ENTER)

    async def shown(self) -> str:
        """The last answer's text without its white space, and without what the elements of tools say."""
        words = await self.browser.evaluate(
            f"[...{ANSWER}.querySelectorAll('.md')].map(node => node.textContent).join('')"
        )
        return squeezed(str(words))


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with running_chromium() as running:
        yield running


@pytest.fixture
async def visit(chromium: Chromium) -> AsyncIterator[Visit]:
    async with fake_server() as (fake, url), attached(chromium) as browser:
        await browser.open(url)
        await browser.type("input[name=user_name]", "admin")
        await browser.type("input[name=password]", "secret" + ENTER)
        await browser.wait_for(CONNECTED)
        yield Visit(browser, fake, url)
        assert [said for said in await browser.console() if "WebSocket connection" not in said] == []


async def test_a_wrong_password_is_told_and_a_right_one_opens_the_page(chromium: Chromium) -> None:
    async with fake_server() as (_, url), attached(chromium) as browser:
        await browser.open(url)
        await browser.type("input[name=user_name]", "admin")
        await browser.type("input[name=password]", "wrong" + ENTER)
        await browser.wait_for("!document.querySelector('#login-error').hidden")
        assert await browser.text("#login-error") == "Wrong user name or password"
        await browser.type("input[name=password]", "secret" + ENTER)
        await browser.wait_for(CONNECTED)


async def test_an_answer_streams_with_its_thinking_its_tool_and_its_markdown(visit: Visit, tmp_path: Path) -> None:
    await visit.say(f"Two{SHIFT}{ENTER}{NULL}lines")
    await visit.browser.wait_for(f"{SHOWN}.includes('A stand-in')")
    assert await visit.browser.evaluate("document.querySelector('.person .said').textContent") == "Two\nlines"
    assert await visit.browser.evaluate("location.hash") == "#/task/1"
    await visit.browser.wait_for(phase("completed"))
    for selector in (".thinking:not([hidden])", ".tool[data-state=done]", ".code pre", "table", "ol ul", "blockquote"):
        assert await visit.browser.evaluate(f"!!{ANSWER}.querySelector('{selector}')"), selector
    assert await visit.browser.evaluate(f"{ANSWER}.querySelectorAll('b').length") == 0
    picture = await visit.browser.screenshot(tmp_path / "page.png")
    assert picture.stat().st_size > 10_000


async def test_a_reload_in_the_middle_comes_back_to_the_whole_text(visit: Visit) -> None:
    visit.fake.answer = "word 👍🏽 漢 " * 120
    await visit.say("Hello")
    await visit.browser.wait_for(f"{SHOWN}.length > 60")
    await visit.browser.reload()
    await visit.browser.wait_for(f"{SHOWN}.length > 60")
    assert await visit.browser.evaluate(phase("streaming"))
    await visit.browser.wait_for(phase("completed"))
    assert await visit.shown() == squeezed(visit.fake.row().text)


async def test_a_lost_connection_comes_back_and_loses_no_text(visit: Visit) -> None:
    visit.fake.answer = "one two three " * 60
    await visit.say("Hello")
    for code in (4001, 1011):
        await visit.browser.wait_for(f"{STATE} === 'open' && {phase('streaming')}")
        visit.fake.close(code)
        await visit.browser.wait_for(f"{STATE} !== 'open'")
    await visit.browser.wait_for(phase("completed"), 30)
    assert await visit.shown() == squeezed(visit.fake.row().text)


async def test_text_that_was_lost_on_the_way_is_asked_for(visit: Visit) -> None:
    visit.fake.answer = "four five six " * 40
    await visit.say("Hello")
    await visit.browser.wait_for(f"{SHOWN}.length > 30")
    visit.fake.skip = 5
    await visit.browser.wait_for(phase("completed"))
    assert "chat:resume" in visit.fake.seen
    assert await visit.shown() == squeezed(visit.fake.row().text)


async def test_a_run_is_stopped_and_tried_again(visit: Visit) -> None:
    visit.fake.answer = "seven " * 400
    await visit.say("Hello")
    await visit.browser.wait_for(f"{SHOWN}.length > 30")
    await visit.browser.click("#stop")
    await visit.browser.wait_for(phase("cancelled"))
    visit.fake.answer = "eight"
    await visit.browser.click(".answer [data-action=retry]")
    await visit.browser.wait_for(phase("completed"))
    assert await visit.shown() == "eight"


async def test_a_failure_shows_its_type_and_keeps_the_text(visit: Visit) -> None:
    visit.fake.fail = "The provider said no"
    await visit.say("Hello")
    await visit.browser.wait_for(phase("error"))
    assert "The provider said no" in await visit.browser.text(".failure")
    assert await visit.browser.text(".failure code") == "model"
    assert await visit.browser.evaluate(f"{SHOWN}.length") > 20


async def test_a_message_that_is_refused_can_be_sent_again(visit: Visit) -> None:
    visit.fake.refuse["chat:send"] = ("The server is busy", "OVERLOADED")
    await visit.say("Hello")
    await visit.browser.wait_for("document.querySelector('.person[data-phase=error]')")
    del visit.fake.refuse["chat:send"]
    await visit.browser.click(".person button")
    await visit.browser.wait_for(phase("completed"))
    assert await visit.browser.evaluate("document.querySelectorAll('.person').length") == 1


async def test_a_session_that_has_ended_asks_for_a_login_and_comes_back_to_the_task(visit: Visit) -> None:
    await visit.say("Hello")
    await visit.browser.wait_for(phase("completed"))
    visit.fake.close(4401)
    await visit.browser.wait_for("!document.querySelector('#login').hidden")
    await visit.browser.type("input[name=password]", "secret" + ENTER)
    await visit.browser.wait_for(phase("completed"))


async def test_markup_in_what_others_say_stays_text(visit: Visit) -> None:
    evil = "<img src=x onerror=alert(1)><script>document.title='owned'</script>"
    visit.fake.answer = f"{evil}\n\n```{evil}\n{evil}\n```\n\n[a](javascript:alert(1)) **{evil}**"
    await visit.say(evil)
    await visit.browser.wait_for(phase("completed"))
    assert await visit.browser.evaluate("document.querySelectorAll('#app img[src=x], #messages script').length") == 0
    assert await visit.browser.evaluate("document.querySelectorAll('#messages a').length") == 0
    assert evil in str(await visit.browser.evaluate(SHOWN))


async def test_the_list_shows_what_runs_and_leads_from_chat_to_chat(visit: Visit) -> None:
    visit.fake.answer = "slow " * 60
    await visit.say("First")
    await visit.browser.wait_for("document.querySelector('#task-list li[data-status=RUNNING]')")
    await visit.browser.click("#new-chat")
    await visit.browser.wait_for("!document.querySelector('#welcome').hidden")
    await visit.say("Second")
    await visit.browser.wait_for("document.querySelectorAll('#task-list li').length === 2")
    await visit.browser.click("#task-list a[title=First]")
    await visit.browser.wait_for("document.querySelector('.person .said').textContent === 'First'")
    await visit.browser.wait_for(phase("completed"))
    assert await visit.shown() == "slow" * 60


async def test_earlier_messages_are_fetched_and_what_is_read_stays_in_place(visit: Visit) -> None:
    await visit.say("Hello")
    await visit.browser.wait_for(phase("completed"))
    (task,) = visit.fake.tasks.values()
    task.rows = [Row(next(visit.fake.ids), n, "USER", f"number {n}") for n in range(1, 241)]
    await visit.browser.reload()
    await visit.browser.wait_for("document.querySelectorAll('.person').length === 100")
    top = "[...document.querySelectorAll('.person')].find(node => node.innerText.startsWith('number 141'))"
    place = f"Math.round({top}.getBoundingClientRect().top)"
    await visit.browser.evaluate("document.querySelector('#scroller').scrollTop = 0")
    before = await visit.browser.evaluate(place)
    await visit.browser.evaluate("document.querySelector('#earlier').click()")
    await visit.browser.wait_for("document.querySelectorAll('.person').length === 200")
    assert abs(await visit.browser.evaluate(place) - before) <= 2
    await visit.browser.evaluate("document.querySelector('#earlier').click()")
    await visit.browser.wait_for("document.querySelectorAll('.person').length === 240")
    await visit.browser.wait_for("document.querySelector('#earlier').hidden")
    assert await visit.browser.evaluate("document.querySelector('.person .said').textContent") == "number 1"


async def test_a_long_answer_is_drawn_without_long_pauses(visit: Visit) -> None:
    """200,000 characters in headings, paragraphs, lists and code."""
    words = "words of a paragraph that goes on " * 20
    part = f"## Part\n\n{words}\n\n- a\n- b\n\n```py\n{'x = 1' * 60}\n```\n\n"
    visit.fake.answer = part * (200_000 // len(part))
    visit.fake.step = 400
    visit.fake.pace = 0.002
    await visit.browser.evaluate(WATCH_FRAMES)
    await visit.say("Hello")
    await visit.browser.wait_for(phase("completed"), 60)
    assert await visit.browser.evaluate("window.longest") < 1000
    assert await visit.browser.evaluate(f"{ANSWER}.querySelectorAll('h4').length") > 100


PLACES = "[...document.querySelectorAll('#place option')].map(option => option.textContent).join('|')"
ON_LAPTOP = "On the server|Laptop (1 of 5)"


async def test_a_new_chat_can_be_sent_to_a_device_that_is_there(visit: Visit, tmp_path: Path) -> None:
    running = [{"task_id": 9, "subtask_id": 9, "title": "Build it", "status": "RUNNING", "created_at": "2026-01-01"}]
    visit.fake.add_device("a", "Laptop", slot_used=1, running_tasks=running)
    visit.fake.add_device("b", "Tower", status="offline", connected=False)
    visit.fake.tell("device:online", {"device_id": "a", "name": "Laptop", "status": "online"})
    await visit.browser.wait_for(f"{PLACES} === '{ON_LAPTOP}'")
    await visit.browser.click("#devices > summary")
    assert await visit.browser.text("#device-count") == "1 of 2 online"
    assert await visit.browser.text("#device-list .running a") == "Build it"
    picture = await visit.browser.screenshot(tmp_path / "devices.png")
    assert picture.stat().st_size > 10_000
    await visit.browser.click("#place option[value=a]")
    await visit.say("Hello")
    await visit.browser.wait_for(phase("completed"))
    assert visit.fake.tasks[1].device_id == "a"
    assert await visit.browser.text("#subtitle") == "Assistant · on Laptop"
    await visit.browser.click("#close-session")
    await visit.browser.wait_for("document.querySelector('#toast').textContent === 'Closed on Laptop'")
    assert "task:close-session" in visit.fake.seen


async def test_the_slots_of_devices_follow_what_is_told_of_them(visit: Visit) -> None:
    visit.fake.add_device("a", "Laptop")
    visit.fake.tell("device:online", {"device_id": "a", "name": "Laptop", "status": "online"})
    note = "document.querySelector('#device-list .note')?.textContent"
    await visit.browser.wait_for(f"{note} === 'online · 0 of 5'")
    visit.fake.tell("device:slot_update", {"device_id": "a", "slot_used": 2, "slot_max": 5, "running_tasks": []})
    await visit.browser.wait_for(f"{note} === 'online · 2 of 5'")
    visit.fake.tell("device:offline", {"device_id": "a", "name": "Laptop", "status": "offline"})
    await visit.browser.wait_for(f"{note} === 'offline · 2 of 5'")
    assert await visit.browser.evaluate(PLACES) == "On the server"
    assert await visit.browser.evaluate("document.querySelector('#place-field').hidden")


async def test_a_device_is_made_the_default_and_one_that_is_gone_is_removed(visit: Visit) -> None:
    visit.fake.add_device("a", "Laptop")
    visit.fake.add_device("b", "Tower", status="offline", connected=False)
    await visit.browser.reload()
    await visit.browser.wait_for(f"{CONNECTED} && document.querySelectorAll('#device-list > li').length === 2")
    assert await visit.browser.evaluate("document.querySelector('#place').value") == ""
    await visit.browser.click("#devices > summary")
    await visit.browser.click("#device-list [aria-label='Run new chats on Laptop']")
    await visit.browser.wait_for("document.querySelector('#place').value === 'a'")
    await visit.browser.click("#device-list [aria-label='Remove Tower']")
    await visit.browser.wait_for("document.querySelectorAll('#device-list > li').length === 1")
    assert list(visit.fake.devices) == ["a"]
