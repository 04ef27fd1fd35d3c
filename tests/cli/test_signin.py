"""How a chat comes by its token."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest

from wegent.cli.credentials import Kept, TokenFile
from wegent.cli.signin import SignIn
from wegent.client.errors import Unreachable
from wegent.client.rest import Rest
from wegent.core.errors import NotAuthenticated, RateLimited

SERVER = "http://server:1"


def test_a_kept_token_is_found_by_server_and_user(tmp_path: Path) -> None:
    kept = TokenFile(tmp_path / "new" / "token.json")
    assert kept.find(SERVER) is None
    kept.keep(SERVER, Kept("ada", "t1"))
    kept.keep("http://other", Kept("bo", "t2"))
    assert kept.find(SERVER) == kept.find(SERVER, "ada") == Kept("ada", "t1")
    assert kept.find(SERVER, "bo") is None
    kept.drop(SERVER)
    assert kept.find(SERVER) is None
    assert kept.find("http://other") == Kept("bo", "t2")


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    kept = TokenFile(tmp_path / "new" / "token.json")
    kept.path.parent.mkdir()
    kept.path.write_text("{}")
    kept.path.chmod(0o644)
    kept.keep(SERVER, Kept("ada", "t"))
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert [path.name for path in kept.path.parent.iterdir()] == ["token.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"servers": 5}', '{"servers": {"http://server:1": {"user": 5}}}', "\xff"]
)
def test_a_damaged_file_is_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token.json"
    path.write_bytes(text.encode("latin-1"))
    kept = TokenFile(path)
    assert kept.find(SERVER) is None
    kept.keep(SERVER, Kept("ada", "t"))
    assert kept.find(SERVER) == Kept("ada", "t")


def test_a_file_that_cannot_be_written_is_no_failure() -> None:
    TokenFile(Path("/proc/nowhere/token.json")).keep(SERVER, Kept("ada", "t"))


class Server:
    """REST by hand: one user, one good token."""

    def __init__(self) -> None:
        self.good = "new"
        self.logins = 0
        self.refusal: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.refusal is not None:
            return self.refusal
        if request.url.path.endswith("/auth/login"):
            self.logins += 1
            if json.loads(request.content) != {"user_name": "ada", "password": "right"}:
                return httpx.Response(401, json={"error": "Wrong user name or password", "code": "NOT_AUTHENTICATED"})
            return httpx.Response(200, json={"access_token": self.good, "user": {"id": 1, "user_name": "ada"}})
        if request.headers.get("authorization") != f"Bearer {self.good}":
            return httpx.Response(401, json={"error": "Invalid or expired token", "code": "TOKEN_EXPIRED"})
        team = {"id": 3, "metadata": {"name": "assistant", "displayName": "Assistant"}}
        return httpx.Response(200, json={"items": [team]})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def rest(server: Server) -> Rest:
    return Rest(httpx.AsyncClient(base_url=SERVER, transport=httpx.MockTransport(server)), None)


def signing_in(rest: Rest, tmp_path: Path, **options: object) -> SignIn:
    chosen: dict[str, object] = {"user": None, "password": None, "may_ask": False, **options}
    return SignIn(rest, SERVER, kept=TokenFile(tmp_path / "token.json"), **chosen)  # type: ignore[arg-type]


async def test_a_password_logs_in_and_the_token_is_kept(rest: Rest, server: Server, tmp_path: Path) -> None:
    teams = await signing_in(rest, tmp_path, user="ada", password="right").teams(None, anew=True)
    assert [(team.id, team.name, team.title) for team in teams] == [(3, "assistant", "Assistant")]
    await signing_in(rest, tmp_path).teams(None, anew=False)
    assert server.logins == 1


async def test_an_expired_token_leads_to_another_login(
    rest: Rest, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TokenFile(tmp_path / "token.json").keep(SERVER, Kept("ada", "old"))
    await signing_in(rest, tmp_path, password="right").teams(None, anew=False)
    assert rest.token == "new"
    assert "expired" in capsys.readouterr().err


async def test_without_a_way_to_log_in_it_is_said_how(rest: Rest, tmp_path: Path) -> None:
    with pytest.raises(NotAuthenticated, match="WEGENT_PASSWORD"):
        await signing_in(rest, tmp_path).teams(None, anew=False)


async def test_a_password_that_is_missing_is_what_is_asked_for(rest: Rest, tmp_path: Path) -> None:
    with pytest.raises(NotAuthenticated, match="the password of ada is missing: give it in WEGENT_PASSWORD"):
        await signing_in(rest, tmp_path, user="ada").teams(None, anew=False)


async def test_a_wrong_password_is_told(rest: Rest, tmp_path: Path) -> None:
    with pytest.raises(NotAuthenticated, match="Wrong user name or password"):
        await signing_in(rest, tmp_path, user="ada", password="wrong").teams(None, anew=True)


async def test_a_terminal_is_asked_three_times(
    rest: Rest, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["wrong", "wrong", "right", "wrong", "wrong", "wrong"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(said))
    monkeypatch.setattr("builtins.input", lambda _: "ada")
    await signing_in(rest, tmp_path, may_ask=True).teams(None, anew=True)
    with pytest.raises(NotAuthenticated):
        await signing_in(rest, tmp_path, may_ask=True).teams(None, anew=True)
    assert server.logins == 6


async def test_a_given_token_is_used_as_it_is(rest: Rest, server: Server, tmp_path: Path) -> None:
    await signing_in(rest, tmp_path).teams("new", anew=False)
    with pytest.raises(NotAuthenticated, match="Invalid or expired"):
        await signing_in(rest, tmp_path, user="ada", password="right").teams("old", anew=False)
    assert server.logins == 0


async def test_a_token_is_renewed_where_the_password_is_known(rest: Rest, tmp_path: Path) -> None:
    error = NotAuthenticated("Token expired")
    assert await signing_in(rest, tmp_path, user="ada", password="right").renew(error) == "new"
    with pytest.raises(NotAuthenticated, match="Token expired; start"):
        await signing_in(rest, tmp_path).renew(error)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(429, json={"error": "slow down", "code": "RATE_LIMITED", "retry_after": 3}), RateLimited),
        (httpx.Response(200, text="<html>"), Unreachable),
        (httpx.Response(404, text="nothing"), Unreachable),
        (httpx.Response(200, json=[1]), Unreachable),
        (httpx.Response(200, json={"user": 5}), Unreachable),
    ],
)
async def test_an_odd_answer_to_the_login_is_a_clear_error(
    rest: Rest, server: Server, tmp_path: Path, answer: httpx.Response, kind: type[Exception]
) -> None:
    server.refusal = answer
    with pytest.raises(kind):
        await signing_in(rest, tmp_path, user="ada", password="right").teams(None, anew=True)


async def test_a_server_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    rest = Rest(httpx.AsyncClient(base_url=SERVER, transport=httpx.MockTransport(refuse)), None)
    with pytest.raises(Unreachable, match="server:1 can't be reached"):
        await signing_in(rest, tmp_path, user="ada", password="right").teams(None, anew=True)
