"""A server with every executor, and what works for it elsewhere, as processes of a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.serving import Server, serving
from tests.e2e.working import Program, program
from tests.executors.docker_engine import IMAGE, DockerDaemon

DEVICE = "laptop"
EXECUTORS = ("local", "process", "docker", "host")
"""Each has a team of its name; `host` is a target of executor hosts."""


@contextmanager
def serving_targets(
    engine: DockerDaemon, home: Path, shell_type: str, *settings: str, agent: str = ""
) -> Iterator[Server]:
    """A server whose teams have shells of that type; its `agent`, where it is not known already."""
    found = ['plugins.add=["docker"]', f"docker.socket={json.dumps(str(engine.socket))}"]
    found.append(f"docker.image={json.dumps(IMAGE)}")
    if agent:
        found += [agents(executor, shell_type, agent) for executor in ("local", "process", "docker")]
    with serving(home / "server", *found, *settings) as server:
        _make_teams(server, shell_type)
        yield server


def agents(executor: str, shell_type: str, agent: str) -> str:
    """A setting: the agent that the executor runs for a shell type."""
    return f"{executor}.agents={{{shell_type}={json.dumps(agent)}}}"


@contextmanager
def hosting(server: Server, home: Path, *settings: str) -> Iterator[Program]:
    """An executor host for the target `host`."""
    token = _new_token(server, scope="executor", targets=["host"])
    with _working("executor", server, home, ["--token", token], settings) as running:
        running.says("connected")
        yield running


@contextmanager
def device(server: Server, home: Path, *settings: str, url: str = "") -> Iterator[Program]:
    """The device `DEVICE`; `url` where it reaches the server by another address."""
    token = _new_token(server, scope="device", device_id=DEVICE)
    options = ["--token", token, "--id", DEVICE]
    with _working("device", server, home, options, settings, url=url) as running:
        running.says("Connected to")
        yield running


@contextmanager
def _working(
    command: str, server: Server, home: Path, options: list[str], settings: tuple[str, ...], url: str = ""
) -> Iterator[Program]:
    chosen = [option for setting in settings for option in ("--set", setting)]
    data = ["--data", str(home / command)]
    with program(command, "--server", url or server.url, *options, *data, *chosen, home=home) as running:
        yield running


def _post(server: Server, path: str, body: Any) -> Any:
    headers = {"Authorization": f"Bearer {server.login()}"}
    answer = httpx.post(f"{server.url}/api/v1{path}", json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer.json()


def _new_token(server: Server, **asked: Any) -> str:
    return str(_post(server, "/tokens", asked)["token"])


def _make_teams(server: Server, shell_type: str) -> None:
    documents: list[dict[str, Any]] = [{"kind": "Ghost", "metadata": {"name": "none"}, "spec": {}}]
    for name in EXECUTORS:
        specs = {
            "Shell": {"shellType": shell_type, "executor": name},
            "Bot": {"ghostRef": {"name": "none"}, "shellRef": {"name": name}},
            "Team": {"members": [{"botRef": {"name": name}}]},
        }
        documents += [{"kind": kind, "metadata": {"name": name}, "spec": spec} for kind, spec in specs.items()]
    _post(server, "/kinds/apply", documents)


def team_of(server: Server, target: str) -> int:
    """The id of the team whose runs go there; those of a device go there by the message."""
    items = server.get("/kinds/team", server.login())["items"]
    teams = {each["metadata"]["name"]: int(each["id"]) for each in items}
    return teams["process" if target == "device" else target]
