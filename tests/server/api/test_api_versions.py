"""Who edits tasks, executions and knowledge bases at the same time, over REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from wegent.core.instruments import Registry
from wegent.core.rooms import Rooms
from wegent.server.api.executions import executions_blueprint
from wegent.server.api.knowledge import knowledge_blueprint
from wegent.server.execution_view import ExecutionTeller
from wegent.server.executions import Executions
from wegent.server.knowledge import KnowledgeBases, KnowledgeLimits
from wegent.server.sending import Sending
from wegent.server.targets import Targets
from wegent.server.teams import CHAT_SHELL
from wegent.server.telling import Teller

REFERENCE = Path(__file__).parents[3] / "docs/reference"


@frozen
class Place:
    """What is edited, and by which field; `made` is the `ETag` it was made with, None where that call has none."""

    path: str
    made: str | None
    field: str
    body: dict[str, Any]

    def with_text(self, text: str) -> dict[str, Any]:
        return {**self.body, self.field: text}


@pytest.fixture
def executions(scene: Any) -> Executions:
    rooms = Rooms(Registry())
    targets = Targets(scene.clock, [CHAT_SHELL])
    sending = Sending(scene.store, scene.clock, rooms, Teller(rooms), lambda row: None, targets)
    return Executions(scene.store, scene.clock, sending, ExecutionTeller(rooms))


@pytest.fixture(params=["task", "execution", "base"])
async def place(request: pytest.FixtureRequest, scene: Any, executions: Executions) -> Place:
    scene.app.register_blueprint(executions_blueprint(executions, scene.auth))
    scene.app.register_blueprint(knowledge_blueprint(KnowledgeBases(scene.store, KnowledgeLimits()), scene.auth))
    return await MAKERS[request.param](scene)


async def a_task(scene: Any) -> Place:
    return Place(f"/tasks/{(await scene.new_task())['task_id']}", None, "title", {})


async def an_execution(scene: Any) -> Place:
    body = {"team_id": scene.team_id, "cron": "*/5 * * * *", "timezone": "Europe/Berlin"}
    made = await scene.post("/executions", {**body, "prompt": "first"})
    return Place(f"/executions/{made.json['id']}", made.headers["ETag"], "prompt", body)


async def a_base(scene: Any) -> Place:
    made = await scene.post("/knowledge-bases", {"name": "first"})
    return Place(f"/knowledge-bases/{made.json['id']}", made.headers["ETag"], "name", {})


MAKERS = {"task": a_task, "execution": an_execution, "base": a_base}


async def put(scene: Any, place: Place, text: str, version: str | None = None, *, token: str = "") -> Any:
    headers = {} if version is None else {"If-Match": version}
    body = place.with_text(text)
    return await scene.call("PUT", f"/api/v1{place.path}", body=body, token=token, headers=headers)


async def delete(scene: Any, place: Place, version: str | None = None, *, token: str = "") -> Any:
    headers = {} if version is None else {"If-Match": version}
    return await scene.call("DELETE", f"/api/v1{place.path}", token=token, headers=headers)


async def test_an_old_version_is_neither_replaced_nor_deleted(scene: Any, place: Place) -> None:
    old = (await scene.get(place.path)).headers["ETag"]
    assert place.made in (None, old)
    changed = await put(scene, place, "second", old)
    assert (changed.status, changed.json[place.field]) == (200, "second")
    new = changed.headers["ETag"]
    assert (await scene.get(place.path)).headers["ETag"] == new != old
    for version in (old, "nonsense", f"W/{new}", '""'):
        for late in (await put(scene, place, "third", version), await delete(scene, place, version)):
            assert (late.status, late.json["code"]) == (412, "CONFLICT")
    assert (await scene.get(place.path)).json[place.field] == "second"
    assert (await delete(scene, place, f"{old}, {new}")).status == 200


async def test_a_refused_change_leaves_no_trace(scene: Any, place: Place) -> None:
    before = (await scene.get(place.path)).json
    assert (await put(scene, place, "second", '"old"')).status == 412
    assert (await delete(scene, place, '"old"')).status == 412
    assert (await scene.get(place.path)).json == before


async def test_who_names_no_version_or_any_takes_it_as_it_is(scene: Any, place: Place) -> None:
    assert (await put(scene, place, "second")).status == 200
    assert (await put(scene, place, "third", "*")).json[place.field] == "third"
    assert (await delete(scene, place, "*")).status == 200


async def test_what_is_no_more_is_not_found_whatever_version_is_named(scene: Any, place: Place) -> None:
    version = (await scene.get(place.path)).headers["ETag"]
    assert (await delete(scene, place)).status == 200
    for named in (None, version, '"other"', "*"):
        assert (await put(scene, place, "second", named)).status == 404
        assert (await delete(scene, place, named)).status == 404


async def test_others_learn_nothing_by_naming_versions(scene: Any, place: Place) -> None:
    version = (await scene.get(place.path)).headers["ETag"]
    for write in (
        lambda named: put(scene, place, "x", named, token="bob"),
        lambda named: delete(scene, place, named, token="bob"),
    ):
        plain = await write(None)
        assert plain.status in (403, 404)
        assert "ETag" not in plain.headers
        for named in (version, '"other"', "*"):
            answer = await write(named)
            assert (answer.status, answer.body) == (plain.status, plain.body)
    assert (await scene.get(place.path)).headers["ETag"] == version


async def test_what_runs_do_to_a_task_is_no_other_version(scene: Any) -> None:
    ack = await scene.new_task()
    path = f"/tasks/{ack['task_id']}"
    first = await scene.get(path)
    await scene.change_row(ack["assistant_subtask_id"], status="RUNNING", owner="worker", lease="l", progress=50)
    await scene.change_row(ack["assistant_subtask_id"], status="COMPLETED", content="done", owner=None, lease=None)
    await scene.post(f"{path}/messages", {"message": "and now?"})
    await scene.call("PUT", f"/api/v1{path}/read", body={"message_id": 2})
    await scene.post(f"{path}/group-chat", {"members": [{"user_name": "bob"}]})
    later = await scene.get(f"{path}?limit=1")
    assert later.json["revision"] > first.json["revision"]
    assert later.headers["ETag"] == first.headers["ETag"]
    assert (await scene.get(path, token="bob")).headers["ETag"] == first.headers["ETag"]


@pytest.mark.parametrize("place", ["execution"], indirect=True)
async def test_what_runs_do_to_an_execution_is_no_other_version(
    scene: Any, place: Place, executions: Executions
) -> None:
    first = await scene.get(place.path)
    scene.clock.seconds += 600
    await executions._round()
    later = await scene.get(place.path)
    assert (first.json["runs"], later.json["runs"]) == (0, 1)
    assert later.json["next_at"] != first.json["next_at"]
    assert later.headers["ETag"] == first.headers["ETag"]
    assert (await put(scene, place, "second", first.headers["ETag"])).status == 200


@pytest.mark.parametrize("place", ["base"], indirect=True)
async def test_documents_that_come_make_no_other_version_of_a_base(scene: Any, place: Place) -> None:
    first = await scene.get(place.path)
    added = await scene.post(f"{place.path}/documents", {"title": "t", "text": "milk"})
    assert (added.status, "ETag" in added.headers) == (201, False)
    later = await scene.get(place.path)
    assert (later.json["documents"], later.headers["ETag"]) == (1, first.headers["ETag"])


@pytest.mark.parametrize("place", ["execution"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        {"cron": "*/6 * * * *"},
        {"timezone": "UTC"},
        {"timezone": None},
        {"run_at": "2030-01-01T00:00:00Z", "cron": None, "timezone": None},
    ],
)
async def test_whatever_is_asked_of_an_execution_is_of_its_version(
    scene: Any, place: Place, change: dict[str, Any]
) -> None:
    first = await scene.get(place.path)
    body = {**place.with_text("first"), **change}
    changed = await scene.call("PUT", f"/api/v1{place.path}", body=body)
    assert (changed.status, changed.headers["ETag"] == first.headers["ETag"]) == (200, False)


async def test_the_document_tells_of_if_match(scene: Any, place: Place) -> None:
    paths = (await scene.get("/openapi.json", token=None)).json["paths"]
    path = "/api/v1/" + {"title": "tasks/{task_id}", "prompt": "executions/{execution_id}"}.get(
        place.field, "knowledge-bases/{base_id}"
    )
    for method in ("put", "delete"):
        assert "If-Match" in [each["name"] for each in paths[path][method]["parameters"]]


@pytest.mark.parametrize("page", ["executions", "knowledge", "rest"])
def test_the_reference_tells_of_versions(page: str) -> None:
    text = (REFERENCE / f"{page}.md").read_text()
    assert "`ETag`" in text
    assert "`If-Match`" in text
