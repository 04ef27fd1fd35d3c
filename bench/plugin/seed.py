"""Fills a data folder of Wegent with the users, tokens and tasks of `bench.data`.

Usage: `python -m bench.plugin.seed FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import trio

from bench import data
from bench.plugin.executor import NAME
from wegent.core.clock import SystemClock
from wegent.server.ports.store import Unit
from wegent.server.records import Token
from wegent.storage.opening import open_store
from wegent.storage.plugin import DATABASE

MODEL_TEAM, STREAM_TEAM = "bench", "stream"
EXECUTORS = ("local", "process", "docker", "host")  # each has a team of its name, whose messages are shell commands


def kinds(unit: Unit) -> dict[str, int]:
    """Public teams: one answered by engine `openai`, one by our own executor, one an executor that runs commands.

    Returns their ids by name.
    """
    commands = ((kind, name, spec) for name in EXECUTORS for kind, spec in _command_team(name))
    specs: tuple[tuple[str, str, dict[str, object]], ...] = (
        ("Ghost", "bench", {"systemPrompt": ""}),
        ("Model", "bench", {"modelConfig": {"engine": "openai", "model_id": "bench"}}),
        ("Shell", "bench", {"shellType": "Chat"}),
        ("Shell", "stream", {"shellType": "Command", "executor": NAME}),
        ("Bot", "bench", _bot("bench")),
        ("Bot", "stream", _bot("stream")),
        ("Team", MODEL_TEAM, {"members": [{"botRef": {"name": "bench"}}], "public": True}),
        ("Team", STREAM_TEAM, {"members": [{"botRef": {"name": "stream"}}], "public": True}),
        *commands,
    )
    ids: dict[str, int] = {}
    for kind, name, spec in specs:
        body = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        made = unit.put_kind(kind, "default", name, user_id=None, body=body)
        if kind == "Team":
            ids[name] = made.id
    return ids


def _command_team(executor: str) -> Iterator[tuple[str, dict[str, object]]]:
    yield "Shell", {"shellType": "Command", "executor": executor}
    yield "Bot", _bot(executor)
    yield "Team", {"members": [{"botRef": {"name": executor}}], "public": True}


def _bot(shell: str) -> dict[str, object]:
    return {"ghostRef": {"name": "bench"}, "shellRef": {"name": shell}, "modelRef": {"name": "bench"}}


def fill(unit: Unit) -> int:
    """Write everything; returns the id of the team that messages go to."""
    now = SystemClock().now()
    for i in range(1, data.USERS + 1):
        user = unit.add_user(f"user{i}", password_hash=None)
        assert user.id == i
        unit.add_token(
            Token(
                jti=f"bench{i}", user_id=i, scope="user", name="bench", claims={}, created_at=now,
                expires_at=now + timedelta(days=1),
            )
        )  # fmt: skip
    teams = kinds(unit)
    for wanted, owner, is_group in data.tasks():
        team = STREAM_TEAM if wanted >= data.BIG_ROOM else MODEL_TEAM
        task = unit.add_task(
            owner_id=owner, team_id=teams[team], team_name=team, title=f"Task {wanted}", is_group_chat=is_group
        )
        assert task.id == wanted
    for i in range(2, data.USERS + 1):
        unit.put_member(data.BIG_ROOM, i)
    return teams[MODEL_TEAM]


def seed(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "secret").write_text(data.SECRET)
    (folder / "secret").chmod(0o600)
    (folder / "bench-team").write_text(str(trio.run(write_rows, folder)))


async def write_rows(folder: Path) -> int:
    async with open_store(f"sqlite:///{(folder / DATABASE).absolute()}", clock=SystemClock()) as store:
        return await store.write(fill)


if __name__ == "__main__":
    seed(Path(sys.argv[1]))
