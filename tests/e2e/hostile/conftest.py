"""A server with two users for clients that break every rule; after each test everybody else is served."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.raw_sockets import Raw, still_serves
from tests.e2e.serving import Server, serving

MALLORY = "mallory's password"


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two users; the second one was added while it ran."""
    with serving(tmp_path_factory.mktemp("house"), "offline.tokens_per_s=0", "offline.beats_per_s=100") as running:
        command = [sys.executable, "-m", "wegent.cli.main", "user", "add", "mallory", "--password-stdin"]
        subprocess.run([*command, "--data", str(running.data)], input=MALLORY + "\n", text=True, check=True, timeout=60)
        yield running


@pytest.fixture(scope="session")
def token(house: Server) -> str:
    return house.login()


@pytest.fixture(scope="session")
def mallory(house: Server) -> str:
    return house.login("mallory", MALLORY)


@pytest.fixture(scope="session")
def secret_task(house: Server, token: str) -> dict[str, Any]:
    """A conversation of the first user that nobody else may see; its ids, and the team's."""
    team = house.team(token)
    with Raw(house, token) as owner:
        sent = owner.call("chat:send", {"team_id": team, "message": "/echo the secret is 4711", "title": "4711"})
        assert owner.event("chat:done")["result"]["value"].endswith("4711")
    return {**sent, "team_id": team}


@pytest.fixture(autouse=True)
def everybody_else_is_served(house: Server, token: str) -> Iterator[None]:
    yield
    still_serves(house, token)
