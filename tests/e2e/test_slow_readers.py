"""Clients that read slowly, or not at all, cost themselves only (protocol law 8, §6.4).

`WEGENT_SLOW_READERS=long` is the long form: 1,000 clients and a stream of 50 MB, in some seven minutes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import stamping
from tests.e2e.raw_sockets import Raw
from tests.e2e.serving import Server, serving
from wegent.transports.ws import TEXT

LONG = os.environ.get("WEGENT_SLOW_READERS") == "long"
CLIENTS, MEGABYTES, RATE = (1_000, 50, 500) if LONG else (200, 8, 2_500)  # RATE in lines a second
LINES = MEGABYTES * 1_000_000 // stamping.LINE
P99_RATIO, P99_NOISE = (1.2, 0.0) if LONG else (3.0, 0.5)
ATTEMPTS = 3
"""On a machine that has other work, all readers are slow now and then, and the two runs cannot be compared."""
GROWTH = 16 * 1024
"""KiB."""
FRAME = 512 * 1024
SETTINGS = (*stamping.SETTINGS, "chat.max_stream=100000000", "websocket.ping_interval=600")
NODE = Path(__file__).parent.parent / "node"


class Stream:
    """A task on a server of its own, many clients that read it, and what they found."""

    def __init__(self, server: Server, clients: int) -> None:
        self.server = server
        self.token = server.login()
        self.team = server.team(self.token)
        with Raw(server, self.token) as owner:
            self.task_id = owner.call("chat:send", {"team_id": self.team, "message": "1 1000"})["task_id"]
            owner.event("chat:done")
        command = [sys.executable, "-m", "tests.e2e.room_readers", str(server.port), self.token, str(self.task_id)]
        self.readers = subprocess.Popen([*command, str(clients)], stdout=subprocess.PIPE, text=True)
        assert self._line() == "joined\n"

    def _line(self) -> str:
        assert self.readers.stdout is not None
        return self.readers.stdout.readline()

    def start(self) -> None:
        """Begin the stream; nobody but the readers and those who joined is in the room."""
        with Raw(self.server, self.token) as owner:
            message = {"task_id": self.task_id, "team_id": self.team, "message": f"{LINES} {RATE}"}
            assert "assistant_subtask_id" in owner.call("chat:send", message)

    def found(self) -> dict[str, Any]:
        """What the readers found, once all of them have had everything."""
        told = self._line()
        assert told, "the readers found a loss"
        return {**json.loads(told), "memory": self.memory()}

    def memory(self) -> int:
        """KiB of the server's own pages, and of what the kernel keeps for its sockets."""
        rollup = Path(f"/proc/{self.server.pid}/smaps_rollup").read_text()
        own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss_Anon:"))
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        mine = [row[4] for row in rows if int(row[1].rpartition(":")[2], 16) == self.server.port]
        queued = sum(int(part, 16) for row in mine for part in row.split(":"))  # sent and not read yet, and received
        return own + queued // 1024


@contextmanager
def stream(folder: Path, clients: int) -> Iterator[Stream]:
    with serving(folder, *SETTINGS) as server:
        streaming = Stream(server, clients)
        try:
            yield streaming
        finally:
            streaming.readers.kill()
            streaming.readers.wait()
            assert streaming.readers.stdout is not None
            streaming.readers.stdout.close()


def joined(streaming: Stream) -> Raw:
    client = Raw(streaming.server, streaming.token)
    assert "revision" in client.call("task:join", {"task_id": streaming.task_id})
    return client


def read_on(client: Raw, *, length: int, least: int) -> tuple[int, list[int], bool]:
    """Read from `length` until at least `least` is there, or the ending: length, the chunks' frames, whether ended."""
    frames = []
    while length < least:
        frame = client.frame()
        assert frame is not None, client.closed
        assert frame[0] == TEXT
        message = json.loads(frame[1])
        if message["event"] == "chat:chunk":
            text = message["data"]["content"]
            assert message["data"]["offset"] == length
            stamping.first_line(length, text)
            length += len(text)
            frames.append(len(frame[1]))
        elif message["event"] == "chat:done":
            assert message["data"]["offset"] == length
            return length, frames, True
    return length, frames, False


def catch_ups(frames: list[int]) -> tuple[int, int]:
    """How many of them were more than the engine writes at once, and the most that they may be."""
    large = [size for size in frames if size > 2 * 65_536]
    return len(large), math.ceil(sum(large) / (0.9 * FRAME)) + 2


def test_who_never_reads_or_pauses_delays_nobody_and_costs_little(tmp_path: Path) -> None:
    for attempt in range(ATTEMPTS):
        without, found = compare(tmp_path / str(attempt))
        growth = found["memory"] - without["memory"]
        ratio = found["p99"] / without["p99"]
        print(f"{CLIENTS} clients, {MEGABYTES} MB: p50 {without['p50']:.4f} s and {found['p50']:.4f} s, ", end="")
        print(
            f"p99 {without['p99']:.4f} s and {found['p99']:.4f} s, {ratio:.2f} times; the server grew by {growth} KiB"
        )
        if growth < GROWTH and found["p99"] <= P99_RATIO * without["p99"] + P99_NOISE:
            return
    pytest.fail("others are delayed, or the server grows, because of those who do not read")


def compare(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same stream without and with one who never reads and one who pauses; both of those end whole."""
    with stream(folder / "without", CLIENTS) as streaming:
        streaming.start()
        without = streaming.found()
    with stream(folder / "with", CLIENTS - 2) as streaming, joined(streaming) as silent, joined(streaming) as pausing:
        streaming.start()
        length, _, _ = read_on(pausing, length=0, least=LINES * stamping.LINE // 10)
        time.sleep(15 if LONG else 2)
        length, frames, ended = read_on(pausing, length=length, least=2**60)
        assert ended
        assert length == LINES * stamping.LINE
        found = streaming.found()
        most = max(frames)
        assert most <= FRAME
        count, allowed = catch_ups(frames)
        assert 1 <= count <= allowed, "at most one chunk for each frame that the limit allows"

        length, frames, ended = read_on(silent, length=0, least=2**60)
        assert ended, "it never read, but had it, it would have been whole"
        assert length == LINES * stamping.LINE
        assert max(frames) <= FRAME
        count, allowed = catch_ups(frames)
        assert LINES * stamping.LINE // FRAME - 1 <= count <= allowed

    for each in (without, found):
        assert each["length"] == LINES * stamping.LINE
    return without, found


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_who_lets_too_much_wait_is_closed_comes_back_by_itself_and_is_whole(tmp_path: Path) -> None:
    if not (NODE / "node_modules/socket.io-client").is_dir():
        pytest.skip("tests/node has no packages: make test installs them")
    with serving(tmp_path, "offline.tokens_per_s=1500", "kernel.hard=400000") as server:
        token = server.login()
        command = ["node", "slow_client.js", server.url, token, str(server.team(token))]
        told = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=90)
        assert told.returncode == 0, told.stderr + told.stdout
        answer = json.loads(told.stdout.splitlines()[-1])
        row = server.get(f"/tasks/{answer['task_id']}", token)
        assert answer["disconnects"] == ["transport close"]
        assert answer["joins"] == 1
        assert answer["acks"] < answer["asked"]
        assert answer["resumes"] == 0, "the join is enough"
        assert answer["text"] == answer["ending"]["result"]["value"]
        assert answer["text"].split()[:2] == ["one", "two"]
        assert str(answer["task_id"]) in json.dumps(row)
