"""A real server process for tests, and what tests ask of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx

PASSWORD = "correct horse"
LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")


class Server:
    """A server on data that outlives it. Its output is kept, to be shown with a failure."""

    def __init__(self, data: Path, *settings: str, workers: int = 1) -> None:
        self.data = data
        self.settings = settings
        self.workers = workers
        self.port = 0
        self.output: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, and wait until it says where it listens. The port stays the same over restarts."""
        command = [sys.executable, "-m", "wegent.cli.main", "serve", "--bind", f"127.0.0.1:{self.port}"]
        command += ["--data", str(self.data), "--workers", str(self.workers)]
        for setting in self.settings:
            command += ["--set", setting]
        environment = {**os.environ, "WEGENT_ADMIN_PASSWORD": PASSWORD}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if found := LISTENS.search(line):
                self.port = int(found[1])
                self._reader = threading.Thread(target=self._keep_reading, args=[self.process.stdout])
                self._reader.start()
                return
        self.end()
        raise AssertionError("the server did not start:\n" + "".join(self.output))

    def _keep_reading(self, output: IO[str]) -> None:
        with output:
            self.output.extend(output)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, and wait for the end; the exit code."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        code = process.wait(30)
        if self._reader is not None:
            self._reader.join(10)
            self._reader = None
        elif process.stdout is not None:
            process.stdout.close()
        return code

    def login(self, name: str = "admin", password: str = PASSWORD) -> str:
        answer = httpx.post(f"{self.url}/api/v1/auth/login", json={"user_name": name, "password": password}, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def get(self, path: str, token: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1{path}", headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        return answer.json()

    def team(self, token: str) -> int:
        return int(self.get("/kinds/team", token)["items"][0]["id"])


@contextmanager
def serving(data: Path, *settings: str, workers: int = 1, port: int = 0) -> Iterator[Server]:
    """A server that is there for the time of the block, and ends without a traceback."""
    server = Server(data, *settings, workers=workers)
    server.port = port
    server.start()
    try:
        yield server
    finally:
        server.end()
        output = "".join(server.output)
        assert "Traceback" not in output, output


def until(found: Callable[[], Any], *, within: float = 10.0) -> Any:
    """What `found` returns, as soon as it is true. For other processes' states that nobody announces."""
    deadline = time.monotonic() + within
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.02)
    return result
