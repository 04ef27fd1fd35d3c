"""`POST /tasks/{id}/app`: what is to be looked at in a task, set by its owner and by its runs."""

from __future__ import annotations

from typing import Any

import pytest

from wegent.protocol import jobs

APP = {"name": "site", "address": "127.0.0.1:3000", "previewUrl": "http://127.0.0.1:3000/"}


def run_token(scene: Any, sent: dict[str, Any]) -> str:
    """That of a task's run."""

    class Run:
        task_id, subtask_id, attempt = sent["task_id"], sent["assistant_subtask_id"], 1
        user = jobs.JobUser(id=scene.ada.id, name="ada")

    token: str = scene.auth.run_token(Run)
    return token


async def test_the_owner_and_a_run_set_it_and_the_latest_counts(scene: Any) -> None:
    sent = await scene.new_task()
    path = f"/tasks/{sent['task_id']}"
    assert "app" not in (await scene.get(path)).json
    first = await scene.post(f"{path}/app", APP)
    assert (first.status, first.json["app"]) == (200, APP)
    later = {**APP, "name": "later"}
    await scene.change_row(sent["assistant_subtask_id"], status="RUNNING", owner="w", lease="l")
    assert (await scene.post(f"{path}/app", later, token=run_token(scene, sent))).json["app"] == later
    shown = (await scene.get(path)).json
    assert shown["app"] == later
    assert shown["revision"] > first.json["revision"]


async def test_nobody_else_sets_it(scene: Any) -> None:
    sent, other = await scene.new_task(), await scene.new_task()
    path = f"/tasks/{sent['task_id']}"
    await scene.post(f"{path}/group-chat", {"members": [{"user_name": "bob"}]})
    await scene.change_row(other["assistant_subtask_id"], status="RUNNING", owner="w", lease="l")
    for token, status in (("bob", 403), ("boss", 403), (run_token(scene, other), 403), (None, 401)):
        assert (await scene.post(f"{path}/app", APP, token=token)).status == status
    assert (await scene.post("/tasks/999999/app", APP)).status == 404
    assert "app" not in (await scene.get(path)).json


@pytest.mark.parametrize("missing", sorted(APP))
async def test_all_of_it_has_to_be_there(scene: Any, missing: str) -> None:
    sent = await scene.new_task()
    for wrong in ({}, {missing: ""}, {missing: 3}):
        body = {**{name: text for name, text in APP.items() if name != missing}, **wrong}
        answer = await scene.post(f"/tasks/{sent['task_id']}/app", body)
        assert (answer.status, missing in answer.json["error"]) == (400, True), answer.json
