"""`wegent user` and `wegent token` on a data folder."""

from __future__ import annotations

import argparse
import io
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import trio

from wegent.cli.deployment import database_url
from wegent.cli.main import main
from wegent.cli.token import lifetime
from wegent.core.clock import SystemClock
from wegent.core.errors import WegentError
from wegent.core.model import Principal
from wegent.server.auth import TokenAuth
from wegent.server.tokens import Signer, read_secret
from wegent.storage.opening import open_store


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEGENT_DATA", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert main(["user", "add", "ada", "--admin", "--password-stdin"]) == 0
    return tmp_path


async def _with_auth(data: Path, name: str, *args: object) -> object:
    clock = SystemClock()
    async with open_store(f"sqlite:///{data / 'wegent.db'}", clock=clock) as store:
        return await getattr(TokenAuth(store, Signer(read_secret(data)), clock), name)(*args)


def authenticate(data: Path, token: str, scope: str) -> Principal:
    principal = trio.run(partial(_with_auth, data, "authenticate", token, [scope]))
    assert isinstance(principal, Principal)
    return principal


def test_an_added_user_can_log_in(data: Path) -> None:
    trio.run(partial(_with_auth, data, "login", "ada", "correct horse"))


def test_users_are_listed_as_lines_for_other_programs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["user", "list"]) == 0
    assert capsys.readouterr().out.split("\t")[:4] == ["1", "ada", "admin", "active"]


def test_a_deactivated_user_is_refused_until_activated(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "add", "--user", "ada"])
    token = capsys.readouterr().out.splitlines()[-1]
    assert main(["user", "deactivate", "ada"]) == 0
    with pytest.raises(WegentError, match="not active"):
        authenticate(data, token, "user")
    assert main(["token", "add", "--user", "ada"]) == 1
    assert main(["user", "activate", "ada"]) == 0
    assert authenticate(data, token, "user").user_name == "ada"


def test_a_new_password_replaces_the_old_one_and_ends_logins(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, *_ = trio.run(partial(_with_auth, data, "login", "ada", "correct horse"))  # type: ignore[misc]
    monkeypatch.setattr("sys.stdin", io.StringIO("battery staple\n"))
    assert main(["user", "password", "ada", "--password-stdin"]) == 0
    with pytest.raises(WegentError, match="Invalid or expired token"):
        authenticate(data, token, "user")
    trio.run(partial(_with_auth, data, "login", "ada", "battery staple"))


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "told"),
    [
        (["user", "add", "ada", "--password-stdin"], "long enough", 1, "taken"),
        (["user", "add", "bo", "--password-stdin"], "short", 2, "8 to 1024"),
        (["user", "add", " bo", "--password-stdin"], "long enough", 2, "printable"),
        (["user", "add", "bo"], "", 2, "--password-stdin"),
        (["user", "deactivate", "bo"], "", 1, "there is no user 'bo'"),
        (["token", "add", "--user", "bo"], "", 1, "there is no user 'bo'"),
        (["token", "list", "--user", "bo"], "", 1, "there is no user 'bo'"),
        (["token", "revoke", "nothing"], "", 1, "token"),
        (["token", "add", "--user", "ada", "--scope", "device"], "", 2, "--device-id"),
        (["token", "add", "--user", "ada", "--device-id", "x"], "", 2, "--device-id"),
        (["token", "add", "--user", "ada", "--scope", "executor"], "", 2, "--targets"),
        (["token", "add", "--user", "ada", "--scope", "executor", "--targets", ","], "", 2, "--targets"),
        (["token", "add", "--user", "ada", "--scope", "executor", "--targets", "device:1:x"], "", 2, "device"),
        (
            ["token", "add", "--user", "ada", "--targets", "gpu"],
            "",
            2,
            "scope user has no targets: write --scope executor",
        ),
        (
            ["token", "add", "--user", "ada", "--scope", "device", "--device-id", "laptop", "--targets", "x"],
            "",
            2,
            "scope device has no targets: write --scope executor, or leave out --targets",
        ),
        (
            ["token", "add", "--user", "ada", "--scope", "executor", "--device-id", "laptop", "--targets", "x"],
            "",
            2,
            "scope executor is for no device: write --scope device, or leave out --device-id",
        ),
    ],
)
def test_a_wrong_call_is_told_in_one_line(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    stdin: str,
    code: int,
    told: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "claims"),
    [
        (["--scope", "user"], {}),
        (["--scope", "device", "--device-id", "box"], {"device_id": "box"}),
        (["--scope", "executor", "--targets", "process, docker,process"], {"targets": ["process", "docker"]}),
    ],
)
def test_a_token_of_each_scope_is_good_for_it(
    data: Path, capsys: pytest.CaptureFixture[str], options: list[str], claims: dict[str, object]
) -> None:
    assert main(["token", "add", "--user", "ada", "--expires", "2h", "--name", "mine", *options]) == 0
    token = capsys.readouterr().out.splitlines()[-1]
    principal = authenticate(data, token, options[1])
    assert principal.claims == claims
    assert principal.expires_at is not None
    assert 7_100 < principal.expires_at - SystemClock().time() <= 7_200


def test_a_revoked_token_is_listed_as_such_and_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "add", "--user", "ada"])
    token = capsys.readouterr().out.splitlines()[-1]
    main(["token", "list"])
    jti, owner, scope, _, state, _ = capsys.readouterr().out.splitlines()[0].split("\t")
    assert (owner, scope, state) == ("ada", "user", "good")
    assert main(["token", "revoke", jti]) == 0
    main(["token", "list", "--user", "ada"])
    assert capsys.readouterr().out.splitlines()[-1].split("\t")[4] == "revoked"
    with pytest.raises(WegentError, match="Invalid or expired"):
        authenticate(data, token, "user")


def test_a_data_folder_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user", "list", "--data", str(tmp_path / "none")]) == 2
    assert "there is no data folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_database_is_the_configured_one(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text('[storage]\nurl = "postgresql://x/y"\n')
    args = argparse.Namespace(data=tmp_path, config=tmp_path / "w.toml", settings=[])
    assert database_url(args) == "postgresql://x/y"
    args.settings = ["storage.url=memory://"]
    assert database_url(args) == "memory://"
    args.config, args.settings = None, []
    assert database_url(args) == f"sqlite:///{tmp_path}/wegent.db"


@pytest.mark.parametrize(("text", "span"), [("90m", timedelta(minutes=90)), ("30d", timedelta(days=30))])
def test_a_lifetime_is_read(text: str, span: timedelta) -> None:
    assert lifetime(text) == span


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1y", "9999999w", "d", "1.5h", "4000d", "٣d"])
def test_a_lifetime_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        lifetime(text)
