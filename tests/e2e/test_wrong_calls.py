"""What the command line says to a user who got something wrong: one sentence, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.serving import Server
from tests.e2e.working import program

HOST_TOKEN = "a.eyJzY29wZSI6ImV4ZWN1dG9yIiwidGFyZ2V0cyI6WyJncHUiXX0.c"


def said(home: Path, *arguments: str) -> str:
    """All that a command says which is to fail."""
    with program(*arguments, home=home) as running:
        assert running.wait() in (1, 2)
        return running.text


def test_a_path_that_is_wrong_is_told_by_each_command(server: Server, tmp_path: Path) -> None:
    wrong, data = f"{server.url}/foo", str(tmp_path / "data")
    address = wrong.removeprefix("http://")
    told = said(tmp_path, "device", "--server", wrong, "--token", server.login(), "--data", data)
    assert told == (
        f"wegent: no Wegent server is at {address}/ws/local-executor (it answered 404); "
        "is the address right, and its path?\n"
    )
    told = said(tmp_path, "chat", "--server", wrong, "--token", server.login(), "hi")
    assert told == f"wegent: no Wegent server is at {wrong}/; is the address right, and its path?\n"
    told = said(tmp_path, "executor", "--server", wrong, "--token", HOST_TOKEN, "--data", data)
    assert told.startswith("wegent: this server knows no executor hosts: its address may have a path that is wrong;")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "token", "words"),
    [("device", "a.b.c", "Invalid or expired token"), ("executor", HOST_TOKEN, "Invalid or expired token")],
)
def test_a_token_that_is_none_is_told_alone(
    server: Server, tmp_path: Path, command: str, token: str, words: str
) -> None:
    told = said(tmp_path, command, "--server", server.url, "--token", token, "--data", str(tmp_path / "data"))
    assert told == f"wegent: {words}\n"
