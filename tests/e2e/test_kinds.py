"""A team is made of a file, and answers on the executor that it names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen

from tests.e2e.serving import PASSWORD, Server
from wegent.cli.main import main

EXAMPLE = Path(__file__).parents[2] / "examples/command-team.yaml"


@frozen
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def wegent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs a command against the server, as its admin."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("WEGENT_PASSWORD", PASSWORD)

    def run(*arguments: str) -> Done:
        code = main([*arguments, "--server", server.url, "--user", "admin"])
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


def test_a_team_of_a_file_runs_commands_on_the_executor_process(wegent: Callable[..., Done], tmp_path: Path) -> None:
    applied = wegent("apply", "-f", str(EXAMPLE))
    assert (applied.code, applied.err) == (0, "")
    assert applied.out.splitlines() == [
        f"{kind} default/{name} created"
        for kind, name in (("Ghost", "shell"), ("Shell", "command"), ("Bot", "shell"), ("Team", "shell"))
    ]
    answer = wegent("chat", "--team", "shell", "echo $((20 + 22)); tr '\\0' ' ' < /proc/$PPID/cmdline")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("42\n")
    assert "wegent.runner" in answer.out

    shown = wegent("get", "team", "shell", "-o", "yaml")
    again = tmp_path / "again.yaml"
    again.write_text(shown.out, encoding="utf-8")
    assert wegent("apply", "-f", str(again)).out == "Team default/shell unchanged\n"
    kept = wegent("delete", "bot", "shell")
    assert (kept.code, "referred to by Team default/shell" in kept.err) == (1, True)
    for kind in ("team", "bot"):
        gone = wegent("delete", kind, "shell")
        assert (gone.code, gone.out) == (0, f"{kind} default/shell deleted\n")
    assert "shell" not in wegent("get", "team").out


def test_users_and_an_admin_have_kinds_side_by_side(server: Server) -> None:
    add = [sys.executable, "-m", "wegent.cli.main", "user", "add", "--password-stdin", "--data", str(server.data)]
    tokens = {"admin": server.login()}
    for name in ("kim", "lee"):
        subprocess.run([*add, name], input=f"{PASSWORD}\n", text=True, capture_output=True, check=True, timeout=60)
        tokens[name] = server.login(name)

    def call(who: str, method: str, path: str, **given: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens[who]}", **given.pop("headers", {})}
        return httpx.request(method, f"{server.url}/api/v1/kinds/{path}", headers=headers, **given)

    text = EXAMPLE.read_text(encoding="utf-8")
    assert call("kim", "POST", "apply?scope=public", content=text).status_code == 403
    for who in ("kim", "lee"):
        assert len(call(who, "POST", "apply", content=text).json()["created"]) == 4
    theirs = call("lee", "GET", "team/default/shell").json()["id"]
    mine = call("kim", "GET", "team/default/shell")
    assert mine.json()["id"] != theirs
    assert call("kim", "DELETE", "team/default/shell", headers={"If-Match": '"old"'}).status_code == 412
    assert call("kim", "DELETE", "team/default/shell", headers={"If-Match": mine.headers["ETag"]}).status_code == 200
    assert call("kim", "GET", "team/default/shell").status_code == 404
    assert theirs not in [item["id"] for item in call("admin", "GET", "team?limit=500").json()["items"]]
    assert call("lee", "GET", "team/default/shell").json()["id"] == theirs
    sent = {"team_id": theirs, "message": "echo no"}
    refused = httpx.post(f"{server.url}/api/v1/tasks", headers={"Authorization": f"Bearer {tokens['kim']}"}, json=sent)
    assert (refused.status_code, refused.json()["code"]) == (403, "ACCESS_DENIED")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Ghost\nmetadata: {name: x}\nspec: {sytemPrompt: ''}", "document 1: `spec`: there is no field"),
        ("a: [", "document 1, line 2: expected YAML"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_document(
    wegent: Callable[..., Done], tmp_path: Path, text: str, told: str
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.yaml"
    good.write_text('{"kind": "Ghost", "metadata": {"name": "never"}, "spec": {}}')
    bad.write_text(text)
    done = wegent("apply", "-f", str(good), str(bad))
    assert done.code == 2
    assert done.out == ""
    assert f"wegent: {bad}: {told}" in done.err
    assert "never" not in wegent("get", "ghost", "-o", "json").out
