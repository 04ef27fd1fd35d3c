"""A team is made of a file, and answers on the executor that it names."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from attrs import frozen

from tests.e2e.serving import PASSWORD, Server, serving
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
    """Runs a command against a server, as its admin."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("WEGENT_PASSWORD", PASSWORD)

    def run(*arguments: str, at: Server = server) -> Done:
        code = main([*arguments, "--server", at.url, "--user", "admin"])
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


class Endpoint(BaseHTTPRequestHandler):
    """Answers chat completions, and keeps what it was asked."""

    asked: ClassVar[list[tuple[str | None, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.headers["Authorization"], json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b'data: {"choices": [{"delta": {"content": "Looks good."}}]}\n\ndata: [DONE]\n\n')

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}/v1"
        served.shutdown()
        thread.join()


def test_a_model_takes_its_key_from_the_environment_of_the_server(
    wegent: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("WEGENT_SECRET_OPENAI", "sk-of-the-operator")
    file = tmp_path / "model-team.yaml"
    text = EXAMPLE.with_name("model-team.yaml").read_text(encoding="utf-8")
    file.write_text(text.replace("https://api.openai.com/v1", endpoint), encoding="utf-8")
    with serving(tmp_path / "data") as server:
        assert wegent("apply", "-f", str(file), "--public", at=server).code == 0
        answer = wegent("chat", "--team", "reviewer", "x = 1", at=server)
        assert (answer.code, answer.out) == (0, "Looks good.\n")
        shown = wegent("get", "model", "gpt", "-o", "yaml", at=server).out
    [(authorization, body)] = Endpoint.asked
    assert authorization == "Bearer sk-of-the-operator"
    assert (body["model"], body["temperature"], body["messages"][0]["role"]) == ("gpt-4.1-mini", 0.2, "system")
    assert body["messages"][0]["content"].startswith("You review code.")
    assert "WEGENT_SECRET_OPENAI" in shown
    assert "sk-of" not in shown


def test_a_team_of_ones_own_is_talked_to_before_an_older_public_one(
    wegent: Callable[..., Done], tmp_path: Path
) -> None:
    own, public = tmp_path / "own.yaml", tmp_path / "public.yaml"
    own.write_text(EXAMPLE.read_text(encoding="utf-8").replace("name: shell", "name: twin"), encoding="utf-8")
    public.write_text(own.read_text(encoding="utf-8").replace("Type: Command", "Type: Chat"), encoding="utf-8")
    for options in ([str(public), "--public"], [str(own)]):
        assert "Team default/twin created" in wegent("apply", "-f", *options).out
    assert wegent("chat", "--team", "twin", "echo $((20 + 22))").out == "42\n"
    for options in ([], ["--public"]):
        assert wegent("delete", "team", "twin", *options).code == 0


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
