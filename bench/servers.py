"""The servers under measurement: how each is started, and which scenarios it takes part in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import build, data, process
from wegent.storage.plugin import DATABASE

PEERS = build.HERE / "peers"
EVERYTHING = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10})


@dataclass(frozen=True)
class Running:
    """A server that listens. `model` is the address of the model server it was given, if any."""

    name: str
    port: int
    pid: int
    command: list[str]
    team: int = 1  # whom messages are sent to

    def memory(self) -> process.Memory:
        return process.memory(self.pid)


@dataclass(frozen=True)
class Place:
    """Where a server puts its data, and what it works with ("": without).

    `model` and `redis` are URLs; `rows` is the folder of the worker whose rows it shares, its own if there is none.
    """

    folder: Path
    model: str = ""
    redis: str = ""
    rows: Path | None = None

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


class Server(ABC):
    """One server. A new process with fresh data for every measurement."""

    name: str
    scenarios = EVERYTHING
    quick = EVERYTHING  # those of a quick run

    @abstractmethod
    def start(self, place: Place) -> tuple[subprocess.Popen[bytes], int]:
        """Start on a free port with fresh data; return the process and the port once it listens."""

    def team(self, folder: Path) -> int:
        """Return the id of the team that messages are sent to, for a server that has teams."""
        return 1

    @contextmanager
    def running(self, place: Place) -> Iterator[Running]:
        """Keep it running for the time of the block."""
        place.folder.mkdir(parents=True, exist_ok=True)
        child, port = self.start(place)
        try:
            arguments = child.args if isinstance(child.args, list) else [child.args]
            yield Running(self.name, port, child.pid, [str(a) for a in arguments], self.team(place.folder))
        finally:
            process.stop(child)


@dataclass
class Peer(Server):
    """A peer: a command that takes --port, --database, --secret, --model and --redis."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)

    def start(self, place: Place) -> tuple[subprocess.Popen[bytes], int]:
        database, port = place.folder / "peer.db", process.free_port()
        data.write_peer_database(database)
        command = [*self.command, "--port", str(port), "--database", str(database), "--secret", data.SECRET]
        if place.model:
            command += ["--model", place.model]
        if place.redis:
            command += ["--redis", place.redis]
        return _start(command, port, place.log, self.env), port


class Wegent(Server):
    """The real server with its default preset; added are our events and executor, and room for many chats at once."""

    name = "wegent"
    plugins = ("bench.plugin.executor:ExecutorPlugin", "bench.plugin.events:EventsPlugin")

    def start(self, place: Place) -> tuple[subprocess.Popen[bytes], int]:
        template, folder = place.folder.parent / "wegent-template", place.folder / "data"
        env = {"PYTHONPATH": str(build.HERE.parent)}
        if not template.exists():
            subprocess.run([sys.executable, "-m", "bench.plugin.seed", template], check=True, env={**os.environ, **env})
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        port = process.free_port()
        command = [str(Path(sys.executable).parent / "wegent"), "serve", "--bind", f"127.0.0.1:{port}"]
        command += ["--data", str(folder)]
        for setting in self.settings(place):
            command += ["--set", setting]
        return _start(command, port, place.log, env), port

    def settings(self, place: Place) -> list[str]:
        added = [*self.plugins, *(["redis"] if place.redis else [])]
        found = [
            f"plugins.add={json.dumps(added)}",
            "chat.max_concurrent=2000",
            "chat_shell.max_concurrent=2000",
        ]
        if place.model:
            found += [f'openai.base_url="{place.model}"', "openai.pool.max_connections=2000"]
        if place.redis:
            found += ['plugins.remove=["memory"]', f'redis.url="{place.redis}"']
        if place.rows:
            found.append(f'storage.url="sqlite:///{place.rows / "data" / DATABASE}"')
        return found

    def team(self, folder: Path) -> int:
        return int((folder / "data/bench-team").read_text())


class Kernel(Server):
    """Our C server with one send a message: no users, no database, hence not in every scenario."""

    name = "c"
    scenarios = frozenset({1, 2, 3, 4, 5, 9})
    quick = frozenset({1})

    def start(self, place: Place) -> tuple[subprocess.Popen[bytes], int]:
        port = process.free_port()
        return _start([str(build.C_SERVER), str(port)], port, place.log, {}), port


def _start(command: list[str], port: int, log: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        child = process.spawn(command, process.SERVER_CORE, env=env, stdout=output, stderr=output)
    try:
        process.wait_for_port(port, child)
    except BaseException:
        process.stop(child)
        print(log.read_text(errors="replace")[-2000:])
        raise
    return child


def everybody() -> list[Server]:
    python = Peer("python-socketio", [str(build.PYTHON), "-O", str(PEERS / "python/server.py")])
    environment = {"NODE_PATH": str(build.NODE_MODULES), "NODE_ENV": "production"}
    node = Peer("node", ["node", str(PEERS / "node/server.js")], environment)
    return [Wegent(), node, python, Kernel()]
