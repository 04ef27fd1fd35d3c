"""What ada has, and who else there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import attrs

from tests.access.scene import DAY, FARM, FORM, LAPTOP, MARK, Actor, Own, Scene, at_work, form, settled
from wegent.core.namespaces import Namespaces
from wegent.server.api.app import make_app
from wegent.server.correction_rows import with_correction
from wegent.server.ports.routes import Routes
from wegent.server.ports.store import Store, Unit
from wegent.storage.memory import MemoryStore

FAR = "2100-01-01T00:00:00Z"


@asynccontextmanager
async def scene(data: Path) -> AsyncIterator[Scene]:
    """Others first, so that their ids are small; then ada."""
    async with at_work(data) as (deps, sessions, nursery):
        store = deps.one(Store)
        assert isinstance(store, MemoryStore)
        app = make_app(deps.all(Routes).values())
        made = Scene(app, deps, sessions, nursery, data, ada=Own(None, ""))  # type: ignore[arg-type]
        for bringer in deps.all(Namespaces).values():
            made.namespaces.update(bringer.namespaces())
        for name in ("bob", "boss", "eve"):
            made.owns[name] = await _own(made, name)
        _number(store, 700_000_001)
        await _ada(made)
        _number(store, 900_000_001)
        made.actors = await _actors(made)
        await settled()
        yield made


def _number(store: MemoryStore, first: int) -> None:
    ids = count(first)
    store._tables.next_id = lambda table: next(ids)  # type: ignore[method-assign]


async def _user(scene: Scene, name: str) -> Own:
    role = "admin" if name == "boss" else "user"
    user = await scene.store.write(lambda unit: unit.add_user(name, password_hash=None, role=role))
    token, _ = await scene.auth.issue(user, "user", DAY, name=f"{name}'s own")
    team = await scene.store.read(lambda unit: unit.kind_named("Team", "default", "assistant", user_id=None))
    assert team is not None
    return Own(user, token, team_id=team.id)


async def _own(scene: Scene, name: str) -> Own:
    own = await _user(scene, name)
    own.task_id = (await scene.made(own, "/tasks", {"team_id": own.team_id, "message": "mine"}))["task_id"]
    own.base_id = (await scene.made(own, "/knowledge-bases", {"name": "mine"}))["id"]
    later = {"team_id": own.team_id, "prompt": "mine", "run_at": FAR}
    own.execution_id = (await scene.made(own, "/executions", later))["id"]
    waits = await scene.made(own, "/tasks", {"team_id": own.team_id, "message": "wait"})
    await settled()
    own.waiting = scene.tables.subtasks[waits["assistant_subtask_id"]]
    return own


# ada's


async def _ada(scene: Scene) -> None:
    scene.ada = ada = await _user(scene, f"{MARK}-ada")
    await scene.made(ada, "/kinds/apply", kinds())
    open_team = str(scene.team(f"{MARK}-open"))
    scene.open_words = {
        f"{MARK}-open",
        open_team,
        f"{MARK}-bot",
        f"{MARK}-token",
    }  # with its bot; all tokens are called so
    attachment = (await scene.made(ada, "/attachments", form(f"{MARK}-file.txt", f"{MARK}-bytes"), **FORM))["id"]
    base = (await scene.made(ada, "/knowledge-bases", {"name": f"{MARK}-base"}))["id"]
    document = {"title": f"{MARK}-document", "text": f"{MARK}-passage of old times"}
    await scene.made(ada, f"/knowledge-bases/{base}/documents", document)
    execution = {"team_id": scene.team(f"{MARK}-team"), "prompt": f"{MARK}-prompt", "run_at": FAR}
    await scene.made(ada, "/executions", execution)
    with_it = {"attachment_ids": [attachment], "contexts": [{"type": "knowledge_base", "id": base}]}
    plain = await _task(scene, "plain", **with_it)
    await scene.store.write(lambda unit: _corrected(unit, plain["assistant_subtask_id"]))
    await _task(scene, "fail")
    gone = await _task(scene, "gone")
    scene.deleted.add(gone["task_id"])
    assert (await scene.call("DELETE", f"/tasks/{gone['task_id']}", ada.token)).status == 200
    await _group(scene)
    await _device(scene)
    await _host(scene)


def kinds() -> list[dict[str, Any]]:
    """One of each kind; the team is hers alone, or open to everybody, or to bob."""

    def kind(kind: str, name: str, **spec: Any) -> dict[str, Any]:
        metadata = {"name": f"{MARK}-{name}", "labels": {"what": f"{MARK}-label"}}
        return {"apiVersion": "wegent/v1", "kind": kind, "metadata": metadata, "spec": spec}

    def team(name: str, bot: str = "bot", **spec: Any) -> dict[str, Any]:
        made = kind("Team", name, members=[{"botRef": {"name": f"{MARK}-{bot}"}}], **spec)
        return {**made, "metadata": {"name": f"{MARK}-{name}"}}

    ghost, shell, model = ({"name": f"{MARK}-{name}"} for name in ("ghost", "shell", "model"))
    return [
        kind("Ghost", "ghost", systemPrompt=f"{MARK}-system-prompt"),
        kind("Model", "model", modelConfig={"model_id": f"{MARK}-id", "api_key": f"{MARK}-key"}),
        kind("Model", "other", modelConfig={"model_id": f"{MARK}-id", "api_key": f"{MARK}-key"}),
        kind("Shell", "shell", shellType="Chat"),
        kind("Shell", "field", shellType="Agent", executor=FARM),
        kind("Skill", "skill", description=f"{MARK}-description"),
        kind("Workspace", "workspace", git_url=f"https://{MARK}-git.example/x"),
        kind("Bot", "bot", ghostRef=ghost, shellRef=shell, modelRef=model),
        kind("Bot", "farmer", ghostRef=ghost, shellRef={"name": f"{MARK}-field"}),
        team("team"),
        team("farmers", "farmer"),
        team("open", public=True),
        team("lent", users=["bob"]),
    ]


async def _task(scene: Scene, what: str, team: str = "team", **fields: Any) -> Any:
    asked = {"team_id": scene.team(f"{MARK}-{team}"), "message": f"{what} {MARK}-{what}", "title": f"{MARK}-title"}
    sent = await scene.made(scene.ada, "/tasks", {**asked, "client_message_id": f"{MARK}-{what}", **fields})
    await settled()
    return sent


def _corrected(unit: Unit, subtask_id: int) -> None:
    row = unit.subtask(subtask_id)
    assert row is not None
    scores = {"accuracy": 5, "logic": 5, "completeness": 5}
    said = {"corrections": [], "summary": f"{MARK}-summary", "improved_answer": f"{MARK}-improved", "is_correct": True}
    kept = {
        "id": "c",
        "status": "DONE",
        "correction_model": f"{MARK}-corrector",
        "started_at": row.created_at.isoformat(),
    }
    with_correction(unit, unit.touch(row.task_id), row, {**kept, "result": {"scores": scores, **said}})


async def _group(scene: Scene) -> None:
    """Eve was in it, and her last message waits for an answer. A run asks something."""
    sent = await _task(scene, "ask", is_group_chat=True, message=f"@{MARK}-team ask {MARK}-ask")
    path = f"/tasks/{sent['task_id']}"
    await scene.made(scene.ada, f"{path}/members", {"user_name": "eve"})
    asked = {"message": f"@{MARK}-team hello", "if_running": "queue"}
    await scene.made(scene.owns["eve"], f"{path}/messages", asked)
    eve = scene.owns["eve"].user.id
    assert (await scene.call("DELETE", f"{path}/members/{eve}", scene.ada.token)).status == 200
    viewer = await scene.socket("/chat", scene.ada.token)
    viewer.disconnect()
    (scene.request_id,) = scene_questions(scene)


def scene_questions(scene: Scene) -> list[str]:
    """The skill requests that wait for an answer."""
    handler = scene.namespaces["/chat"].handlers["skill:response"].call
    services = dict(zip(handler.__code__.co_freevars, handler.__closure__, strict=True))["services"].cell_contents
    return list(services.skills._questions)


async def _device(scene: Scene) -> None:
    scene.laptop = laptop = await scene.socket("/local-executor", scene.ada.token)
    laptop.answers = {"task:execute": lambda _: {"accepted": True}, "task:cancel": lambda _: {"success": True}}
    asked = {"device_id": LAPTOP, "name": f"{MARK}-name", "capabilities": {"what": f"{MARK}-capability"}}
    assert "error" not in await laptop.emit("device:register", asked)
    sent = await _task(scene, "device", device_id=LAPTOP)
    report = {"subtask_id": sent["assistant_subtask_id"], "delta": f"{MARK}-delta", "offset": 0}
    assert "error" not in await laptop.emit("task:progress", report)


async def _host(scene: Scene) -> None:
    """A run that a host has, and one that waits for a host."""
    token = await scene.issue(scene.ada.user, "executor", targets=[FARM])
    await _task(scene, "farm", "farmers")
    asked = {"executor": f"{MARK}-host", "targets": [FARM], "limit": 1}
    (job,) = (await scene.call("POST", "/tasks/fetch", token, asked)).json["tasks"]
    scene.lease = {name: job[name] for name in ("task_id", "subtask_id", "attempt", "lease")}
    await _task(scene, "later", "farmers")


# those who try


async def _actors(scene: Scene) -> list[Actor]:
    bob, ada = scene.owns["bob"], scene.ada
    assert bob.waiting is not None
    group = next(task for task in scene.tasks if task.is_group_chat)
    other = next(row for row in scene.rows if row.status == "RUNNING" and row.task_id == group.id)
    nothing = attrs.evolve(bob)
    past = await scene.auth.issue(ada.user, "user", timedelta(seconds=-1))
    revoked = await scene.auth.issue(ada.user, "user", DAY)
    await scene.auth.revoke(revoked[1].jti)
    return [
        *(Actor(name, "user", own.token, own, admin=name == "boss") for name, own in scene.owns.items()),
        Actor("bob's device", "device", await scene.issue(bob.user, "device", device_id="box"), bob),
        Actor("bob's host", "executor", await scene.issue(bob.user, "executor", targets=["elsewhere"]), bob),
        Actor("bob's run", "run", scene.run_token(bob.user, bob.waiting), bob),
        Actor("ada's other device", "device", await scene.issue(ada.user, "device", device_id="other"), bob),
        Actor("ada's other host", "executor", await scene.issue(ada.user, "executor", targets=["elsewhere"]), bob),
        Actor("ada's other run", "run", scene.run_token(ada.user, other), bob),
        Actor("nobody", "none", None, nothing),
        Actor("somebody with a wrong token", "none", f"{ada.token[:-4]}AAAA", nothing),
        Actor("somebody too late", "none", past[0], nothing),
        Actor("somebody who was revoked", "none", revoked[0], nothing),
    ]
