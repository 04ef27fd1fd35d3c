"""Knowledge bases over REST, and what messages find in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wegent.knowledge.provider import KnowledgeProvider
from wegent.server.api.knowledge import knowledge_blueprint
from wegent.server.contexts import Contexts
from wegent.server.knowledge import KnowledgeBases, KnowledgeLimits
from wegent.server.specs import job_of

REFERENCE = Path(__file__).parents[3] / "docs/reference/knowledge.md"
BASES = "/knowledge-bases"


@pytest.fixture
async def scene(scene: Any) -> Any:
    limits = KnowledgeLimits(bases=3, documents=3, characters=1_000)
    scene.app.register_blueprint(knowledge_blueprint(KnowledgeBases(scene.store, limits), scene.auth))
    return scene


async def base(scene: Any, *texts: str, token: str = "") -> int:
    made = await scene.post(BASES, {"name": "Handbook"}, token=token)
    assert made.status == 201
    for number, text in enumerate(texts):
        added = await scene.post(f"{BASES}/{made.json['id']}/documents", {"title": f"t{number}", "text": text})
        assert added.status == 201
    return made.json["id"]


async def test_a_base_and_its_documents_are_made_read_and_removed(scene):
    base_id = await base(scene, "milk", "bread")
    path = f"{BASES}/{base_id}"
    assert {**(await scene.get(path)).json, "name": "Handbook", "documents": 2, "characters": 9} == (
        await scene.get(path)
    ).json
    items = (await scene.get(f"{path}/documents?limit=1")).json
    assert [item["title"] for item in items["items"]] == ["t0"]
    assert "text" not in items["items"][0]
    rest = (await scene.get(f"{path}/documents?cursor={items['next_cursor']}")).json["items"]
    assert (await scene.get(f"{path}/documents/{rest[0]['id']}")).json["text"] == "bread"
    renamed = await scene.call("PUT", f"/api/v1{path}", body={"name": "Other"})
    assert renamed.json["name"] == "Other"
    assert (await scene.call("DELETE", f"/api/v1{path}/documents/{rest[0]['id']}")).json == {"success": True}
    assert (await scene.get(path)).json["characters"] == 4
    assert [item["id"] for item in (await scene.get(BASES)).json["items"]] == [base_id]
    assert (await scene.call("DELETE", f"/api/v1{path}")).json == {"success": True}
    assert (await scene.get(path)).status == 404


async def test_others_know_nothing_of_it(scene):
    base_id = await base(scene, "milk")
    document = (await scene.get(f"{BASES}/{base_id}/documents")).json["items"][0]["id"]
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/documents", None),
        ("POST", "/documents", {"title": "x", "text": "x"}),
        ("GET", f"/documents/{document}", None),
        ("DELETE", f"/documents/{document}", None),
    ):
        answer = await scene.call(method, f"/api/v1{BASES}/{base_id}{path}", token="bob", body=body)
        assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND"), (method, path)
    theirs = await base(scene, token="bob")
    assert (await scene.get(f"{BASES}/{theirs}/documents/{document}", token="bob")).status == 404
    context = {"type": "knowledge_base", "id": base_id}
    with provided(scene):
        answer = await scene.post(
            "/tasks", {"team_id": scene.team_id, "message": "x", "contexts": [context]}, token="bob"
        )
    assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")


async def test_limits_hold_and_nothing_of_what_is_refused_is_kept(scene):
    base_id = await base(scene, "x" * 400, "x" * 400)
    path = f"{BASES}/{base_id}/documents"
    assert (await scene.post(path, {"title": "t", "text": "x" * 300})).status == 409
    assert (await scene.post(path, {"title": "t", "text": "x"})).status == 201
    assert (await scene.post(path, {"title": "t", "text": "x"})).status == 409
    assert (await scene.get(f"{BASES}/{base_id}")).json["characters"] == 801
    assert [(await scene.post(BASES, {"name": "n"})).status for _ in range(3)] == [201, 201, 409]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": "t"},
        {"text": "x"},
        {"title": "t", "text": " "},
        {"title": "t", "text": "x", "attachment_id": 1},
        {"title": "", "text": "x"},
    ],
)
async def test_a_document_without_text_or_title_is_refused(scene, body):
    answer = await scene.post(f"{BASES}/{await base(scene)}/documents", body)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")


async def test_an_attachment_becomes_a_document(scene):
    fields = {"name": "notes.txt", "size": 4, "blob": "b", "text": "milk is in the fridge"}
    mine, theirs = [
        await scene.store.write(lambda unit, user=user: unit.add_attachment(user_id=user.id, **fields))
        for user in (scene.ada, scene.bob)
    ]
    path = f"{BASES}/{await base(scene)}/documents"
    added = await scene.post(path, {"attachment_id": mine.id})
    assert (added.status, added.json["title"], added.json["characters"]) == (201, "notes.txt", 21)
    assert (await scene.post(path, {"attachment_id": theirs.id})).status == 404


class provided:  # noqa: N801
    """Messages of the scene may carry knowledge bases."""

    def __init__(self, scene: Any, **options: Any) -> None:
        self.contexts = Contexts({"knowledge_base": KnowledgeProvider(scene.store, **options)})

    def __enter__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("wegent.server.contexts.Contexts.gather", self.contexts.gather)

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


async def test_a_message_is_given_what_fits_it_and_sees_changes(scene):
    base_id = await base(scene, "Milk is in the fridge.", "Bread is on the table.")
    context = {"type": "knowledge_base", "id": base_id}

    async def prompt_of(message: str) -> str:
        task = await scene.new_task(message, contexts=[context])
        spec = await scene.store.read(
            lambda unit: job_of(unit, unit.task(task["task_id"]), unit.subtasks(task["task_id"])[-1])
        )
        return spec.prompt

    with provided(scene, passages=1, kept=1):
        first = await prompt_of("Where is the milk?")
        assert "Milk is in the fridge." in first
        assert "Bread" not in first
        assert "Nothing there fits" in await prompt_of("quantum")
        document = (await scene.get(f"{BASES}/{base_id}/documents")).json["items"][0]["id"]
        await scene.call("DELETE", f"/api/v1{BASES}/{base_id}/documents/{document}")
        await scene.post(f"{BASES}/{base_id}/documents", {"title": "new", "text": "The milk has gone."})
        assert "The milk has gone." in await prompt_of("Where is the milk?")
    rows = await scene.store.read(lambda unit: unit.subtasks(1))
    assert {**rows[0].contexts[0], "type": "knowledge_base", "id": base_id, "documents": ["t0"]} == rows[0].contexts[0]


async def test_the_reference_names_every_call(scene):
    told = set(re.findall(r"^\| `([A-Z]+ /[^` ]*)`", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    there = set()
    for rule in scene.app.url_map.iter_rules():
        if rule.rule.startswith(f"/api/v1{BASES}"):
            path = rule.rule.removeprefix("/api/v1").replace("<base_id>", "{id}").replace("<document_id>", "{id}")
            there |= {f"{method} {path}" for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert told == there
