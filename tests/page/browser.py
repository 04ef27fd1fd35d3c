"""A real browser for tests: headless Chromium, driven through chromedriver by W3C WebDriver over HTTP.

async with open_browser() as browser:
    await browser.open("http://127.0.0.1:8000/")
    await browser.type("input[name=user_name]", "admin")
    await browser.click("button[type=submit]")
    await browser.wait_for("document.title === 'Wegent'")
    await browser.screenshot(path)
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
HAS_BROWSER = CHROMIUM is not None and CHROMEDRIVER is not None
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER = "\ue007"
SHIFT = "\ue008"
NULL = "\ue000"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-search-engine-choice-screen", "--hide-scrollbars",
]  # fmt: skip


class BrowserError(Exception):
    """What the driver refused, in its words."""


class Browser:
    """One window. Selectors are CSS; scripts are expressions of JavaScript."""

    def __init__(self, client: httpx.AsyncClient, session: str) -> None:
        self._client = client
        self._path = f"/session/{session}"

    async def _call(self, method: str, path: str, **body: Any) -> Any:
        content = {"json": body} if method == "POST" else {}
        answer = (await self._client.request(method, self._path + path, **content)).json()
        if isinstance(answer["value"], dict) and "error" in answer["value"]:
            raise BrowserError(answer["value"]["message"])
        return answer["value"]

    async def open(self, url: str) -> None:
        await self._call("POST", "/url", url=url)

    async def reload(self) -> None:
        await self._call("POST", "/refresh")

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the page, in CSS pixels; a window cannot be made as narrow as a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.devtools("Emulation.setDeviceMetricsOverride", **metrics)

    async def color_scheme(self, scheme: str) -> None:
        """Prefer `dark` or `light`."""
        await self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def devtools(self, command: str, **params: Any) -> Any:
        return await self._call("POST", "/goog/cdp/execute", cmd=command, params=params)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, as JSON has it; a promise is awaited."""
        script = (
            f"const done = arguments[arguments.length - 1]; Promise.resolve({expression})"
            ".then(value => done({value}), error => done({error: String(error)}));"
        )
        answer = await self._call("POST", "/execute/async", script=script, args=[])
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer.get("value")

    async def wait_for(self, expression: str, timeout: float = 15) -> Any:
        """Wait until an expression is true, looking at every animation frame of the page; gives its value."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"const until = performance.now() + {timeout * 1000};"
            f"const look = () => {{ let value; try {{ value = {expression}; }} catch (error) {{ value = null; }}"
            " if (value || performance.now() > until) { done({value}); } else { setTimeout(look, 20); } }; look();"
        )
        value = (await self._call("POST", "/execute/async", script=script, args=[])).get("value")
        if not value:
            said = await self.evaluate("document.body.innerText")
            raise BrowserError(f"Not within {timeout} s: {expression}\nThe page says:\n{said}")
        return value

    async def _find(self, selector: str) -> str:
        found = await self._call("POST", "/element", using="css selector", value=selector)
        return str(found[ELEMENT])

    async def click(self, selector: str) -> None:
        await self._call("POST", f"/element/{await self._find(selector)}/click")

    async def type(self, selector: str, text: str) -> None:
        """Type into an element; `ENTER`, and `SHIFT` up to `NULL`, are keys."""
        await self._call("POST", f"/element/{await self._find(selector)}/value", text=text)

    async def text(self, selector: str) -> str:
        return str(await self._call("GET", f"/element/{await self._find(selector)}/text"))

    async def screenshot(self, path: Path) -> Path:
        data = base64.b64decode(await self._call("GET", "/screenshot"))
        await trio.to_thread.run_sync(path.write_bytes, data)
        return path

    async def console(self) -> list[str]:
        """What the page logged as warnings or errors since it was last asked; breaches of its policy are among it."""
        entries = await self._call("POST", "/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@attrs.frozen
class Chromium:
    """A running browser: where its driver listens, and the session in it."""

    driver: str
    session: str


@contextmanager
def running_chromium(width: int = 1180, height: int = 820) -> Iterator[Chromium]:
    """A new browser with a profile of its own; it ends with the block. Starting it takes a second or two."""
    assert CHROMIUM is not None, "Chromium is not installed"
    assert CHROMEDRIVER is not None, "chromedriver is not installed"
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [CHROMEDRIVER, f"--port={port}", "--allowed-ips=127.0.0.1"]
        env = {**os.environ, "HOME": folder, "no_proxy": "*"}
        driver = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                session = _start(client, folder, f"--window-size={width},{height}")
                try:
                    yield Chromium(str(client.base_url), session)
                finally:
                    client.delete(f"/session/{session}")
        finally:
            driver.terminate()
            driver.wait(10)


def _start(client: httpx.Client, folder: str, size: str) -> str:
    options = {"binary": CHROMIUM, "args": [*FLAGS, size, f"--user-data-dir={folder}/profile"]}
    always = {
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL"},
        "timeouts": {"script": 120_000},
    }
    for _ in range(400):
        try:
            answer = client.post("/session", json={"capabilities": {"alwaysMatch": always}})
            break
        except httpx.ConnectError:
            time.sleep(0.05)
    else:
        raise BrowserError("The driver did not start")
    value = answer.json()["value"]
    if "sessionId" not in value:
        raise BrowserError(value["message"])
    return str(value["sessionId"])


@asynccontextmanager
async def attached(chromium: Chromium) -> AsyncIterator[Browser]:
    """Drive a running browser. Leaves an empty page; servers on other ports see none of what this one stored."""
    async with httpx.AsyncClient(base_url=chromium.driver, timeout=130, trust_env=False) as client:
        browser = Browser(client, chromium.session)
        try:
            yield browser
        finally:
            with trio.move_on_after(10, shield=True):
                await browser.open("about:blank")
                await browser.console()


@asynccontextmanager
async def open_browser(width: int = 1180, height: int = 820) -> AsyncIterator[Browser]:
    """A browser for this block alone."""
    with running_chromium(width, height) as chromium:
        async with attached(chromium) as browser:
            yield browser
