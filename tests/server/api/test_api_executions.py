"""Executions over REST."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wegent.core.instruments import Registry
from wegent.core.rooms import Rooms
from wegent.server.api.app import make_app
from wegent.server.api.blueprints import Blueprints
from wegent.server.api.executions import executions_blueprint
from wegent.server.execution_view import ExecutionTeller
from wegent.server.executions import Executions
from wegent.server.sending import Sending
from wegent.server.targets import Targets
from wegent.server.teams import CHAT_SHELL
from wegent.server.telling import Teller

REFERENCE = Path(__file__).parents[3] / "docs/reference/executions.md"


@pytest.fixture
async def scene(scene: Any) -> Any:
    rooms = Rooms(Registry())
    targets = Targets(scene.clock, [CHAT_SHELL])
    sending = Sending(scene.store, scene.clock, rooms, Teller(rooms), lambda row: None, targets)
    executions = Executions(scene.store, scene.clock, sending, ExecutionTeller(rooms))
    scene.app = make_app([Blueprints([executions_blueprint(executions, scene.auth)])])
    return scene


async def test_an_execution_is_made_read_changed_and_deleted(scene):
    body = {"team_id": scene.team_id, "prompt": "report", "cron": "30 7 * * 1-5", "timezone": "Europe/Berlin"}
    made = await scene.post("/executions", body)
    assert made.status == 201
    path = f"/executions/{made.json['id']}"
    assert made.headers["Location"] == f"/api/v1{path}"
    item = made.json
    assert {**item, **body, "status": "PENDING", "runs": 0, "next_at": "2023-11-15T06:30:00Z"} == item
    assert (await scene.get(path)).json == item
    changed = await scene.call("PUT", f"/api/v1{path}", body={**body, "prompt": "a longer report", "cron": "0 8 * * *"})
    assert (changed.status, changed.json["prompt"], changed.json["next_at"]) == (
        200,
        "a longer report",
        "2023-11-15T07:00:00Z",
    )
    assert (await scene.call("DELETE", f"/api/v1{path}")).json == {"success": True}
    assert (await scene.get(path)).status == 404


async def test_lists_are_ones_own_and_come_in_pages(scene):
    for each in range(3):
        await scene.post(
            "/executions", {"team_id": scene.team_id, "prompt": str(each), "run_at": "2030-01-01T00:00:00Z"}
        )
    first = (await scene.get("/executions?limit=2")).json
    rest = (await scene.get(f"/executions?limit=2&cursor={first['next_cursor']}")).json
    assert [item["prompt"] for item in (*first["items"], *rest["items"])] == ["2", "1", "0"]
    assert "next_cursor" not in rest
    assert (await scene.get("/executions", token="bob")).json == {"items": []}


async def test_strangers_and_nonsense_are_refused(scene):
    made = await scene.post("/executions", {"team_id": scene.team_id, "prompt": "x", "run_at": "2030-01-01T00:00:00Z"})
    path = f"/api/v1/executions/{made.json['id']}"
    for method in ("GET", "DELETE"):
        assert (await scene.call(method, path, token="bob")).status == 404
        assert (await scene.call(method, path, token=None)).status == 401
    put = await scene.call("PUT", path, token="bob", body={"team_id": scene.team_id, "prompt": "mine"})
    assert put.status == 404
    for body in (
        {},
        {"team_id": scene.team_id, "prompt": ""},
        {"team_id": scene.team_id, "prompt": "x" * 100_001},
        {"team_id": scene.team_id, "prompt": "x", "run_at": "2030-01-01T00:00"},
        {"team_id": scene.team_id, "prompt": "x", "cron": "x" * 300},
        {"team_id": scene.team_id, "prompt": "x", "cron": "a b c d e"},
    ):
        answer = await scene.post("/executions", body)
        assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert (await scene.post("/executions", {"team_id": 2**40, "prompt": "x"})).status == 404


async def test_the_reference_names_every_call(scene):
    told = set(re.findall(r"^\| `([A-Z]+ /[^` ]*)`", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    there = set()
    for rule in scene.app.url_map.iter_rules():
        path = re.sub(r"<\w+>", "{id}", rule.rule.removeprefix("/api/v1"))
        there |= {f"{method} {path}" for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert told == there
