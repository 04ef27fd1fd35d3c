"""What holds for every call: who may come in, errors, limits, headers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from quart import Blueprint

from wegent.core.errors import (
    Conflict,
    DeviceOffline,
    Internal,
    OffsetMismatch,
    Overloaded,
    RateLimited,
    RunFailed,
    ShuttingDown,
    StoreAway,
)
from wegent.server.api.app import AppConfig, make_app
from wegent.server.api.calls import reply
from wegent.server.api.plugin import Blueprints

SECRET = b"s" * 64
OPEN_DOCUMENTS = ("/api/v1/openapi.json", "/api/v1/docs")
OPEN = {"/", "/health", "/ready", "/metrics", "/api/v1/health", "/api/v1/ready", "/api/v1/metrics"}
OPEN_CALLS = {("POST", "/api/v1/auth/login"), ("POST", "/api/v1/auth/register")}


def signed(payload: object, *, key: bytes = SECRET, alg: str = "HS256", header: Any = None) -> str:
    return jwt.api_jws.encode(json.dumps(payload).encode(), key, algorithm=alg, headers=header)


# who may come in


async def test_every_call_but_the_open_ones_needs_a_token(scene: Any) -> None:
    tried = 0
    for rule in scene.app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", "1")
        for method in rule.methods - {"OPTIONS"}:
            if (
                path in OPEN_DOCUMENTS
                or path in OPEN
                or rule.endpoint.startswith("page:")
                or (method, path) in OPEN_CALLS
            ):
                continue
            answer = await scene.call(method, path, token=None)
            assert answer.status == 401, (method, path)
            if method != "HEAD":
                error = answer.json["error"]  # OpenAI's clients want theirs in another form
                sentence = error["message"] if path.startswith("/api/v1/responses") else error
                assert (sentence, answer.json["code"]) == ("Missing authentication token", "NOT_AUTHENTICATED")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            tried += 1
    assert tried > 12


def _claims(scene: Any, **changes: Any) -> dict[str, Any]:
    now = int(scene.clock.seconds)
    claims = {"sub": "ada", "user_id": scene.ada.id, "iat": now, "exp": now + 600, "jti": "j", "scope": "user"}
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


FORGED: dict[str, Callable[[Any], str]] = {
    "nonsense": lambda scene: "nonsense",
    "three dots": lambda scene: "a.b.c",
    "alg none": lambda scene: jwt.encode(_claims(scene), None, algorithm="none"),
    "another secret": lambda scene: signed(_claims(scene), key=b"t" * 64),
    "another alg": lambda scene: signed(_claims(scene), alg="HS512"),
    "a key id": lambda scene: signed(_claims(scene), header={"kid": "../../dev/null"}),
    "never issued": lambda scene: signed(_claims(scene)),
    "no scope": lambda scene: signed(_claims(scene, scope=None)),
    "no exp": lambda scene: signed(_claims(scene, exp=None)),
    "a text for an id": lambda scene: signed(_claims(scene, user_id=str(scene.ada.id))),
    "a list": lambda scene: signed([1, 2]),
    "a megabyte": lambda scene: "x" * 1_000_000,
    "half of a token": lambda scene: scene.tokens["ada"][:-10],
    "two tokens": lambda scene: f"{scene.tokens['ada']} {scene.tokens['bob']}",
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_token_is_refused(scene: Any, name: str) -> None:
    answer = await scene.get("/users/me", token=FORGED[name](scene))
    assert answer.status == 401
    assert answer.json == {"error": "Invalid or expired token", "code": "NOT_AUTHENTICATED"}


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YWRhOnB3", "token", "Bearer \x01", "Bearer é"])
async def test_another_authorization_is_refused(scene: Any, header: str) -> None:
    answer = await scene.get("/users/me", token=None, headers={"Authorization": header})
    assert (answer.status, answer.json["code"]) == (401, "NOT_AUTHENTICATED")


async def test_the_scheme_is_matched_without_regard_to_case(scene: Any) -> None:
    answer = await scene.get("/users/me", token=None, headers={"Authorization": f"bearer  {scene.tokens['ada']}"})
    assert answer.status == 200


async def test_an_expired_token_is_said_to_be_one(scene: Any) -> None:
    scene.clock.seconds += 3_601
    answer = await scene.get("/users/me")
    assert answer.status == 401
    assert answer.json == {"error": "Invalid or expired token", "code": "TOKEN_EXPIRED"}


async def test_a_token_of_another_scope_is_denied(scene: Any) -> None:
    token, _ = await scene.auth.issue(scene.ada, "device", timedelta(hours=1), device_id="d")
    answer = await scene.get("/tasks", token=token)
    assert (answer.status, answer.json["code"]) == (403, "ACCESS_DENIED")


async def test_a_user_who_is_not_active_is_denied(scene: Any) -> None:
    await scene.store.write(lambda unit: unit.update_user(scene.ada.id, active=False))
    answer = await scene.get("/users/me")
    assert (answer.status, answer.json) == (403, {"error": "User is not active", "code": "ACCESS_DENIED"})


# errors


async def raised(error: Exception) -> Any:
    blueprint = Blueprint("failing", __name__)

    @blueprint.get("/fail")
    async def fail() -> Any:
        raise error

    response = await make_app([Blueprints([blueprint])]).test_client().get("/fail")
    return response.status_code, response.headers, json.loads(await response.get_data())


@pytest.mark.parametrize(
    ("error", "status", "fields"),
    [
        (Conflict("no"), 409, {"code": "CONFLICT"}),
        (OffsetMismatch("no", offset=7), 409, {"code": "OFFSET_MISMATCH", "offset": 7}),
        (DeviceOffline("no"), 409, {"code": "DEVICE_OFFLINE"}),
        (RateLimited("no"), 429, {"code": "RATE_LIMITED"}),
        (Overloaded("no"), 503, {"code": "OVERLOADED"}),
        (StoreAway("no"), 503, {"code": "OVERLOADED"}),
        (ShuttingDown("no"), 503, {"code": "SHUTTING_DOWN"}),
        (RunFailed("no", type="model"), 500, {"code": "INTERNAL", "type": "model"}),
    ],
)
async def test_an_error_has_its_status_and_fields(error: Exception, status: int, fields: dict[str, Any]) -> None:
    answered, headers, body = await raised(error)
    assert (answered, body) == (status, {"error": "no", **fields})
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("seconds", "header"), [(30, "30"), (0.2, "1"), (1.5, "2")])
async def test_retry_after_is_told_in_whole_seconds(seconds: float, header: str) -> None:
    for error in (RateLimited("no", retry_after=seconds), Overloaded("no", retry_after=seconds)):
        _, headers, body = await raised(error)
        assert headers["Retry-After"] == header
        assert body["retry_after"] == seconds


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the password is hunter2"),
        KeyError("hunter2"),
        ExceptionGroup("hunter2", [ValueError("hunter2")]),
        RecursionError("hunter2"),
        MemoryError("hunter2"),
    ],
)
async def test_a_defect_is_logged_and_not_shown(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    status, _, body = await raised(error)
    assert (status, body["code"]) == (500, "INTERNAL")
    assert "hunter2" not in json.dumps(body)
    assert "GET /fail failed" in caplog.text
    assert "hunter2" in caplog.text


async def test_a_defect_told_as_internal_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    status, _, body = await raised(Internal("sorry"))
    assert (status, body) == (500, {"error": "sorry", "code": "INTERNAL"})
    assert "sorry" in caplog.text


async def test_an_error_in_a_group_is_told_as_itself() -> None:
    status, _, body = await raised(ExceptionGroup("group", [Conflict("no")]))
    assert (status, body["code"]) == (409, "CONFLICT")


async def test_what_cannot_be_written_as_json_is_a_defect(caplog: pytest.LogCaptureFixture) -> None:
    blueprint = Blueprint("failing", __name__)

    @blueprint.get("/fail")
    async def fail() -> Any:
        return reply({"half": "\ud83d"})

    response = await make_app([Blueprints([blueprint])]).test_client().get("/fail")
    assert response.status_code == 500


async def test_a_store_that_is_away_is_overloaded(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    scene.store.fault = StoreAway("the database does not answer")
    answer = await scene.get("/tasks")
    assert (answer.status, answer.json["code"]) == (503, "OVERLOADED")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "path",
    ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/tasks/", "/api//v1/tasks", "/api/v2/tasks", "/../etc/passwd",
     "/nothing", "/%00", "/package.json", "/merge.js/", "/%2e%2e/pyproject.toml", "/api/v1/tasks/1/2/3/4"],
)  # fmt: skip
async def test_an_unknown_path_is_not_found(scene: Any, path: str) -> None:
    answer = await scene.call("GET", path)
    assert answer.status == 404
    assert answer.json["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/v1/tasks", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/api/v1/users/me", "GET, HEAD, OPTIONS, PUT"),
        ("PATCH", "/api/v1/tasks/1", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("GET", "/api/v1/auth/login", "OPTIONS, POST"),
        ("GET", "/api/v1/tokens/x", "DELETE, OPTIONS"),
        ("TRACE", "/", "GET, HEAD, OPTIONS"),
        ("BREW", "/health", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_names_the_right_ones(scene: Any, method: str, path: str, allowed: str) -> None:
    answer = await scene.call(method, path)
    assert (answer.status, answer.json["code"]) == (405, "INVALID_PAYLOAD")
    assert answer.headers["Allow"] == allowed
    assert allowed in answer.json["error"]


async def test_a_body_that_never_ends_is_given_up(remake: Any) -> None:
    scene = await remake(AppConfig(body_timeout=0.01))
    headers = {"Authorization": f"Bearer {scene.tokens['ada']}", "Content-Length": "100"}
    async with scene.app.test_client().request("/api/v1/tasks", method="POST", headers=headers) as connection:
        await connection.send(b"{")
        body = await connection.receive()
    assert connection.status_code == 408
    assert json.loads(body)["code"] == "INVALID_PAYLOAD"


async def test_an_enormous_body_is_refused_while_it_comes(remake: Any) -> None:
    scene = await remake(AppConfig(max_body=1_000))
    headers = {"Authorization": f"Bearer {scene.tokens['ada']}"}
    async with scene.app.test_client().request("/api/v1/tasks", method="POST", headers=headers) as connection:
        for _ in range(3):
            await connection.send(b"x" * 500)
        body = await connection.receive()
    assert connection.status_code == 413
    assert json.loads(body)["code"] == "INVALID_PAYLOAD"


# headers


@pytest.mark.parametrize("path", ["/", "/main.js", "/health", "/api/v1/tasks", "/nothing", "/api/v1/users/me"])
async def test_every_answer_has_the_security_headers(scene: Any, path: str) -> None:
    headers = (await scene.call("GET", path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    assert "Set-Cookie" not in headers


async def test_what_the_api_answers_is_not_kept(scene: Any) -> None:
    assert (await scene.get("/tasks")).headers["Cache-Control"] == "no-store"
    assert (await scene.get("/tasks", token=None)).headers["Cache-Control"] == "no-store"


async def test_a_configured_site_may_read_answers_and_errors(remake: Any) -> None:
    scene = await remake(AppConfig(origins=("https://Chat.example/",)))
    for token in ("", None):
        headers = (await scene.get("/tasks", token=token, headers={"Origin": "https://chat.example"})).headers
        assert headers["Access-Control-Allow-Origin"] == "https://chat.example"
        assert headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in headers
    other = await scene.get("/tasks", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers
    assert other.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origins", [("*",), ("https://chat.example",)])
async def test_a_preflight_needs_no_token(remake: Any, origins: tuple[str, ...]) -> None:
    scene = await remake(AppConfig(origins=origins))
    asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": "DELETE"}
    answer = await scene.call("OPTIONS", "/api/v1/tokens/x", token=None, headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ("*" if origins == ("*",) else asked["Origin"])
    assert "DELETE" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


async def test_a_preflight_of_another_site_is_granted_nothing(scene: Any) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await scene.call("OPTIONS", "/api/v1/tasks", token=None, headers=asked)
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


async def test_options_names_the_methods(scene: Any) -> None:
    answer = await scene.call("OPTIONS", "/api/v1/tasks", token=None)
    assert answer.status == 200
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


# the page


async def test_the_page_is_served_with_its_modules(scene: Any) -> None:
    page = await scene.call("GET", "/", token=None)
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert b'src="main.js"' in page.body
    script = await scene.call("GET", "/main.js", token=None)
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert script.headers["Cache-Control"] == "no-cache"
    assert (await scene.call("GET", "/icon.svg", token=None)).headers["Content-Type"] == "image/svg+xml"


async def test_an_unchanged_file_is_not_sent_again(scene: Any) -> None:
    first = await scene.call("GET", "/main.js", token=None)
    etag = first.headers["ETag"]
    again = await scene.call("GET", "/main.js", token=None, headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    changed = await scene.call("GET", "/main.js", token=None, headers={"If-None-Match": '"other"'})
    assert (changed.status, changed.body) == (200, first.body)
