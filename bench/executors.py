"""What each executor costs, beside a bare subprocess and a bare `docker run`: `python -m bench.executors`.

A run is the command `echo hi`, sent to a team whose messages are shell commands. Measured are the time from `chat:send`
to the first chunk, one run after the other, and how many runs a second end when some are always under way. Everything
but the client is on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio

from bench import data, process
from bench.servers import Running, Wegent
from tests.executors import docker_engine
from tests.executors.docker_engine import IMAGE, DockerDaemon, Missing
from wegent.client.session import Listener, Session, open_session

COMMAND = "echo hi"
DEVICE = "bench"
TARGETS = ("local", "process", "docker", "host", "device")
BARE = {"local": "sh", "process": "sh", "host": "sh", "device": "sh", "docker": "docker run"}
WEGENT = str(Path(sys.executable).parent / "wegent")


@dataclass(frozen=True)
class Figures:
    """Milliseconds to the first output, runs ended a second."""

    p50_ms: float
    p95_ms: float
    per_s: float


@dataclass(frozen=True)
class Effort:
    """How many runs one after the other, and for how many seconds how many side by side."""

    runs: int
    seconds: float
    parallel: int


def figures(first: Sequence[float], per_s: float) -> Figures:
    ms = sorted(1000 * each for each in first)
    return Figures(statistics.median(ms), ms[min(len(ms) - 1, round(0.95 * len(ms)))], per_s)


# bare


def bare(command: Sequence[str], effort: Effort) -> Figures:
    """The command by itself, from its start to its first byte, and to its end."""
    pinned = ["taskset", "-c", process.SERVER_CORE, *command]

    def run(_: int = 0) -> float:
        began = time.perf_counter()
        with subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            if not child.stdout.read(1):
                raise RuntimeError(f"said nothing: {' '.join(command)}")
            took = time.perf_counter() - began
            child.stdout.read()
        return took

    first = [run() for _ in range(effort.runs)]
    return figures(first, _side_by_side(run, effort))


def _side_by_side(run: Callable[[], float], effort: Effort) -> float:
    began = time.perf_counter()

    def go_on(_: int) -> int:
        count = 0
        while time.perf_counter() - began < effort.seconds:
            run()
            count += 1
        return count

    with ThreadPoolExecutor(effort.parallel) as pool:
        count = sum(pool.map(go_on, range(effort.parallel)))
    return count / (time.perf_counter() - began)


# through the server


class Endings(Listener):
    """When each run was first heard of, and that it ended."""

    def __init__(self) -> None:
        self.first: dict[int, float] = {}
        self.ended: dict[int, tuple[str, Any]] = {}
        self._news = trio.Event()

    def event(self, name: str, data: Any) -> None:
        if name == "chat:chunk" and data["content"]:
            self.first.setdefault(data["subtask_id"], trio.current_time())
        elif name in ("chat:done", "chat:error", "chat:cancelled"):
            self.ended[data["subtask_id"]] = name, data
            self._news.set()
            self._news = trio.Event()

    async def end_of(self, subtask_id: int) -> None:
        while subtask_id not in self.ended:
            await self._news.wait()
        name, payload = self.ended.pop(subtask_id)
        if name != "chat:done" or payload["result"]["value"] != "hi\n":
            raise RuntimeError(f"{name}: {payload}")


@dataclass
class Sender:
    """Sends messages to one team, and waits for their answers."""

    session: Session
    endings: Endings
    message: dict[str, Any]

    async def run(self, task_id: int | None = None) -> tuple[float, int]:
        """One run: seconds to its first chunk, and its task, for the next."""
        sent = trio.current_time()
        ack = await self.session.emit("chat:send", {**self.message, "task_id": task_id})
        await self.endings.end_of(ack["assistant_subtask_id"])
        return self.endings.first.pop(ack["assistant_subtask_id"]) - sent, ack["task_id"]


async def measure(url: str, message: dict[str, Any], effort: Effort) -> Figures:
    endings = Endings()
    async with open_session(url, data.sign(1)) as session:
        with session.listening(endings):
            sender = Sender(session, endings, message)
            _, task_id = await sender.run()
            first = [(await sender.run(task_id))[0] for _ in range(effort.runs)]
            return figures(first, await _many(sender, effort))


async def _many(sender: Sender, effort: Effort) -> float:
    began, count = trio.current_time(), 0

    async def go_on() -> None:
        nonlocal count
        task_id = None
        while trio.current_time() - began < effort.seconds:
            _, task_id = await sender.run(task_id)
            count += 1

    async with trio.open_nursery() as nursery:
        for _ in range(effort.parallel):
            nursery.start_soon(go_on)
    return count / (trio.current_time() - began)


class Commanded(Wegent):
    """The default preset, and the executor `docker` where there is an engine."""

    def __init__(self, engine: DockerDaemon | None) -> None:
        self._engine = engine

    def settings(self, place: Any) -> list[str]:
        found = ["chat.max_per_user=50", "chat.command=everybody"]
        if self._engine is not None:
            found += [
                'plugins.add=["docker"]',
                f"docker.socket={json.dumps(str(self._engine.socket))}",
                f"docker.image={json.dumps(IMAGE)}",
            ]
        return found


def token(folder: Path, scope: str, *options: str) -> str:
    """A token of the measured server, made as its admin would."""
    command = [WEGENT, "token", "add", "--data", str(folder / "data"), "--user", "user1", "--scope", scope, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def program(*command: str) -> Iterator[None]:
    """A Wegent program beside the server, on its core."""
    child = process.spawn([WEGENT, *command], process.SERVER_CORE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.stop(child, grace=10)


def message_for(target: str, running: Running) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {data.sign(1)}"}
    answer = httpx.get(f"http://127.0.0.1:{running.port}/api/v1/kinds/team?limit=100", headers=headers).json()
    ids = {item["metadata"]["name"]: item["id"] for item in answer["items"]}
    device = target == "device"
    return {"team_id": ids["process" if device else target], "message": COMMAND} | (
        {"device_id": DEVICE} if device else {}
    )


def through_the_server(targets: Iterable[str], engine: DockerDaemon | None, effort: Effort) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="wegent-bench-") as name, ExitStack() as stack:
        folder = Path(name) / "wegent"
        running = stack.enter_context(Commanded(engine).running(folder))
        url = f"http://127.0.0.1:{running.port}"
        if "host" in targets:
            made = token(folder, "executor", "--targets", "host")
            options = ("--server", url, "--token", made, "--slots", "50", "--data", f"{name}/host")
            stack.enter_context(program("executor", *options))
        if "device" in targets:
            made = token(folder, "device", "--device-id", DEVICE)
            options = ("--server", url, "--token", made, "--id", DEVICE, "--slots", "50", "--data", f"{name}/device")
            stack.enter_context(program("device", *options))
            wait_for_device(url)
        for target in targets:
            found[target] = trio.run(measure, url, message_for(target, running), effort)
            print(f"  {target}: {found[target]}", file=sys.stderr)
    return found


def wait_for_device(url: str) -> None:
    headers = {"Authorization": f"Bearer {data.sign(1)}"}
    deadline = time.monotonic() + 30
    while not httpx.get(f"{url}/api/v1/devices", headers=headers).json()["items"]:
        if time.monotonic() > deadline:
            raise TimeoutError("the device does not register")
        time.sleep(0.1)


def render(measured: dict[str, Figures], bares: dict[str, Figures]) -> str:
    lines = [
        "| | first output, ms: p50 | p95 | to bare | runs/s | to bare |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in bares.items():
        lines.append(f"| bare `{name}` | {found.p50_ms:.1f} | {found.p95_ms:.1f} | | {found.per_s:.1f} | |")
    for name, found in measured.items():
        peer = bares.get(BARE[name])
        slower = f"{found.p50_ms / peer.p50_ms:.1f} x" if peer else ""
        rate = f"{found.per_s / peer.per_s:.2g} x" if peer else ""
        lines.append(f"| {name} | {found.p50_ms:.1f} | {found.p95_ms:.1f} | {slower} | {found.per_s:.1f} | {rate} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.executors", description=__doc__)
    parser.add_argument("--targets", default=",".join(TARGETS), help="with commas")
    parser.add_argument("--runs", type=int, default=50, help="one after the other")
    parser.add_argument("--seconds", type=float, default=10.0, help="of runs side by side")
    parser.add_argument("--parallel", type=int, default=8)
    options = parser.parse_args()
    effort = Effort(options.runs, options.seconds, options.parallel)
    targets = [target for target in TARGETS if target in options.targets.split(",")]
    with ExitStack() as stack:
        engine = None
        if "docker" in targets:
            try:
                engine = stack.enter_context(docker_engine.running())
            except Missing as reason:
                print(f"without docker: {reason}", file=sys.stderr)
                targets.remove("docker")
        bares = {"sh": bare(["sh", "-c", COMMAND], effort)}
        if engine is not None:
            run = [
                "docker",
                "-H",
                f"unix://{engine.socket}",
                "run",
                "--rm",
                "--network=none",
                IMAGE,
                "sh",
                "-c",
                COMMAND,
            ]
            bares["docker run"] = bare(run, effort)
        print(render(through_the_server(targets, engine, effort), bares))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
