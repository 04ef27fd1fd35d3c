"""Corrections over REST."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wegent.core.instruments import Registry
from wegent.core.rooms import Rooms
from wegent.correction.corrector import EngineCorrector
from wegent.engines.choice import EngineChoice
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.server.api.corrections import corrections_blueprint
from wegent.server.correction_telling import CorrectionTeller
from wegent.server.corrections import Corrections
from wegent.server.telling import Teller

REFERENCE = Path(__file__).parents[3] / "docs/reference/corrections.md"


@pytest.fixture
async def scene(scene: Any, nursery: Any) -> Any:
    rooms = Rooms(Registry())
    choice = EngineChoice({"offline": OfflineEngine(OfflineConfig(tokens_per_s=0))})
    corrector = EngineCorrector(choice, {"engine": "offline"})
    corrections = Corrections(scene.store, scene.clock, corrector, Teller(rooms), CorrectionTeller(rooms))
    await nursery.start(corrections.serve)
    for blueprint in corrections_blueprint(corrections, scene.auth):
        scene.app.register_blueprint(blueprint)
    return scene


async def answered(scene: Any) -> tuple[int, int]:
    task = await scene.new_task("What is six times seven?")
    await scene.change_row(task["assistant_subtask_id"], status="COMPLETED", content="6 * 7 = 41")
    return task["task_id"], task["assistant_subtask_id"]


async def test_a_correction_is_made_read_applied_and_deleted(scene, autojump_clock):
    task_id, row_id = await answered(scene)
    asked = await scene.post("/chat/correct", {"task_id": task_id, "subtask_id": row_id})
    assert (asked.status, asked.json["success"], asked.json["correction_model"]) == (202, True, "offline")
    path = f"/subtasks/{row_id}/correction"
    while (kept := (await scene.get(path)).json)["status"] == "RUNNING":
        pass
    assert kept["result"]["improved_answer"] == "6 * 7 = 42"
    assert (await scene.get(path, token="bob")).status == 403
    assert (await scene.call("DELETE", f"/api/v1{path}", token="bob")).status == 403
    assert (await scene.post(f"{path}/apply", token="bob")).status == 403
    assert (await scene.post(f"{path}/apply")).json == {"success": True, "attempt": 2}
    assert (await scene.post(f"{path}/apply")).json["code"] == "CONFLICT"
    rows = (await scene.get(f"/tasks/{task_id}/subtasks")).json["subtasks"]
    assert rows[1]["result"]["value"] == "6 * 7 = 42"
    assert (await scene.call("DELETE", f"/api/v1{path}")).json == {"success": True}
    assert (await scene.get(path)).status == 404


async def test_what_is_not_there_is_not_corrected(scene):
    task_id, row_id = await answered(scene)
    for body, status in (
        ({}, 400),
        ({"task_id": task_id, "subtask_id": 2**40}, 404),
        ({"task_id": 2**40, "subtask_id": row_id}, 404),
        ({"task_id": task_id, "subtask_id": row_id, "model": "none"}, 404),
    ):
        assert (await scene.post("/chat/correct", body)).status == status
    assert (await scene.post("/chat/correct", {"task_id": task_id, "subtask_id": row_id}, token="bob")).status == 403
    assert (await scene.post("/chat/correct", {"task_id": task_id, "subtask_id": row_id}, token=None)).status == 401


async def test_the_reference_names_every_call(scene):
    told = set(re.findall(r"^\| `([A-Z]+ /[^` ]*)`", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    there = set()
    for rule in scene.app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1") and "correct" in rule.rule:
            path = rule.rule.removeprefix("/api/v1").replace("<subtask_id>", "{id}")
            there |= {f"{method} {path}" for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert told == there
