"""Every id of ada's, on every call and every event, by everybody who has no business with it: refused, nothing is
changed, and nothing of hers is told.

A call or an event that the tables below do not know fails: whoever adds one says here what a stranger would send.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.access import estate
from tests.access.scene import FARM, LAPTOP, MARK, Actor, Scene, settled
from wegent.core.errors import WegentError
from wegent.server.api.openapi import described

OPEN = {"/auth/login", "/auth/register", "/openapi.json", "/docs", "/health", "/ready", "/metrics"}
"""Calls that need no token, and tell nothing of anybody."""
LISTS = {"/tasks", "/devices", "/executions", "/tokens", "/knowledge-bases", "/users/me", "/kinds/{kind}"}
"""Calls that name nobody's things: they tell of what is one's own."""
REFUSED = {"NOT_FOUND", "ACCESS_DENIED", "NOT_AUTHENTICATED", "TOKEN_EXPIRED", "LEASE_LOST"}
Bodies = Callable[[Scene, dict[str, Any]], list[Any]]


def _send(scene: Scene, ids: dict[str, Any]) -> list[Any]:
    """Her team; one's own, with her things beside it; a team that she has opened, with another model of hers."""
    own = {"team_id": ids["own"].team_id, "message": "hi"}
    attachment = scene.hers(scene.tables.attachments)[0].id
    base = scene.hers(scene.tables.bases)[0].id
    return [
        {"team_id": scene.team(f"{MARK}-team"), "message": "hi"},
        {**own, "attachment_ids": [attachment]},
        {**own, "contexts": [{"type": "knowledge_base", "id": base}]},
        {**own, "contexts": [{"type": "attachment", "id": attachment}]},
        {**own, "device_id": LAPTOP},
        {"team_id": scene.team(f"{MARK}-open"), "message": "hi", "force_override_bot_model": f"{MARK}-other"},
    ]


def _answers(scene: Scene) -> list[int]:
    return [row.id for row in scene.rows if row.role == "ASSISTANT"]


def _kind(scene: Scene, ids: dict[str, Any]) -> list[Any]:
    ref = {"name": f"{MARK}-ghost"}
    return [{"metadata": {"name": "mine"}, "spec": {"ghostRef": ref, "shellRef": ref}, "kind": "Bot"}]


BODIES: dict[str, Bodies] = {
    "POST /tasks": _send,
    "POST /tasks/{task_id}/messages": lambda scene, ids: [{"message": "hi"}],
    "POST /tasks/{task_id}/cancel": lambda scene, ids: [{}, *({"subtask_id": each} for each in _answers(scene))],
    "PUT /tasks/{task_id}": lambda scene, ids: [{"title": "mine now"}],
    "PUT /tasks/{task_id}/read": lambda scene, ids: [{"message_id": 1}],
    "PUT /tasks/{task_id}/status": lambda scene, ids: [
        {**{k: v for k, v in scene.lease.items() if k != "task_id"}, "events": [], "status": "COMPLETED"}
    ],
    "POST /tasks/{task_id}/subtasks/{subtask_id}/edit": lambda scene, ids: [{"message": "hi"}],
    "POST /tasks/{task_id}/app": lambda scene, ids: [{"name": "x", "address": "x:1", "previewUrl": "http://x:1/"}],
    "POST /tasks/{task_id}/group-chat": lambda scene, ids: [{"members": [{"user_name": "bob"}]}],
    "POST /tasks/{task_id}/members": lambda scene, ids: [{"user_name": "bob"}],
    "POST /tasks/{task_id}/leave": lambda scene, ids: [None],
    "POST /tasks/fetch": lambda scene, ids: [{"executor": "mine", "targets": [FARM], "limit": 1, "wait_s": 0}],
    "PUT /devices/{device_id}/default": lambda scene, ids: [None],
    "POST /executions": lambda scene, ids: [
        {"team_id": scene.team(f"{MARK}-team"), "prompt": "hi", "run_at": estate.FAR}
    ],
    "PUT /executions/{execution_id}": lambda scene, ids: [
        {"team_id": ids["own"].team_id, "prompt": "hi", "run_at": estate.FAR}
    ],
    "POST /chat/correct": lambda scene, ids: [
        {"task_id": row.task_id, "subtask_id": row.id} for row in scene.rows if row.role == "ASSISTANT"
    ],
    "POST /subtasks/{subtask_id}/correction/apply": lambda scene, ids: [None],
    "POST /responses": lambda scene, ids: [
        {"model": f"default#{MARK}-team", "input": "hi"},
        *({"model": "assistant", "input": "hi", "previous_response_id": f"resp_{each}"} for each in _answers(scene)),
    ],
    "POST /responses/{response_id}/cancel": lambda scene, ids: [None],
    "PUT /knowledge-bases/{base_id}": lambda scene, ids: [{"name": "mine now"}],
    "POST /knowledge-bases/{base_id}/documents": lambda scene, ids: [{"title": "t", "text": "x"}],
    "PUT /kinds/{kind}/{namespace}/{name}": lambda scene, ids: [],  # writes one's own kind of that name
    "POST /kinds/{kind}": lambda scene, ids: [],
    "POST /kinds/apply": _kind,
    "POST /attachments": lambda scene, ids: [],
    "POST /knowledge-bases": lambda scene, ids: [],
    "POST /tokens": lambda scene, ids: [],
    "POST /users": lambda scene, ids: [{"user_name": "eve", "password": "a password"}],
    "PUT /users/{user_id}": lambda scene, ids: [{"role": "admin"}, {"active": False}, {"password": "a password"}],
    "PUT /users/me": lambda scene, ids: [],  # names nobody
}
"""What is sent with each call that takes something; none: it names nothing of anybody else's."""


def paths(scene: Scene, path: str) -> Iterator[str]:
    """The path with each combination of her ids that it has room for."""
    tables, names = scene.tables, re.findall(r"{(\w+)}", path)
    rows = [row.id for row in scene.rows]
    values: dict[str, list[Any]] = {
        "task_id": [task.id for task in scene.tasks],
        "subtask_id": rows,
        "user_id": [scene.ada.user.id],
        "device_id": [LAPTOP],
        "attachment_id": [each.id for each in scene.hers(tables.attachments)],
        "base_id": [each.id for each in scene.hers(tables.bases)],
        "document_id": [each.id for each in tables.documents.values()],
        "execution_id": [each.id for each in scene.hers(tables.executions)],
        "token_id": [each.jti for each in scene.hers(tables.tokens)][:2],
        "response_id": [f"resp_{each}" for each in rows],
    }
    if "name" in names:
        for kind in scene.hers(tables.kinds):
            if f"{MARK}-open" != kind.name and f"{MARK}-lent" != kind.name:
                yield path.format(kind=kind.kind.lower(), namespace="default", name=kind.name)
        return
    if "subtask_id" in names and "task_id" in names:
        for row in scene.rows:
            yield path.format(task_id=row.task_id, subtask_id=row.id)
        return
    for chosen in itertools.product(*(values[name] for name in names if name != "kind")):
        yield path.format(kind="team", **dict(zip([name for name in names if name != "kind"], chosen, strict=True)))


def calls(scene: Scene, actor: Actor) -> Iterator[tuple[str, str, str, Any]]:
    """Method, path as in the document, path with ids, body."""
    for rule, method, _ in described(scene.app):
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1"))
        if path in OPEN or pointless(actor, method, path):
            continue
        name = f"{method} {path}"
        assert method in ("GET", "DELETE") or name in BODIES, f"say in BODIES what a stranger sends to {name}"
        bodies = BODIES[name](scene, {"own": actor.own}) if name in BODIES else [None]
        for filled, body in itertools.product(paths(scene, path), bodies):
            yield method, path, filled, body


def pointless(actor: Actor, method: str, path: str) -> bool:
    """What somebody may do, and what others have to live with: admins revoke tokens, see and change users."""
    return actor.admin and (
        path in ("/users", "/users/{user_id}") or (method, path) == ("DELETE", "/tokens/{token_id}")
    )


OF_RUNS = {
    "/tasks/{task_id}/subtasks": "a run reads its own task",
    "/tasks/{task_id}/app": "a run gives its own task something to look at",
}


def allowed(scene: Scene, actor: Actor, method: str, path: str, filled: str) -> str:
    """Why a call that names what is hers may succeed; empty: it may not."""
    if path in LISTS and method == "GET":
        return "it tells of what is one's own"
    if path == "/tasks/fetch":
        return "a host of other targets gets nothing"
    if path in OF_RUNS and actor.name == "ada's other run":
        run = next(row for row in scene.rows if row.status == "RUNNING" and row.target == "chat_shell")
        return OF_RUNS[path] if filled == path.format(task_id=run.task_id) else ""
    return ""


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with estate.scene(tmp_path) as made:
        yield made


async def test_no_call_gives_anybody_what_is_hers(scene: Scene) -> None:
    before, tried, wrong = scene.dump(), 0, []
    lent = {f"{MARK}-lent", str(scene.team(f"{MARK}-lent"))}
    for actor in scene.actors:
        for method, path, filled, body in calls(scene, actor):
            answer = await scene.call(method, filled, actor.token, body)
            tried += 1
            asked = f"{filled} {json.dumps(body)}"
            why = allowed(scene, actor, method, path, filled)
            told = f"{answer.text} {dict(answer.headers)}"
            refused = answer.code in REFUSED or (path == "/kinds/apply" and "no Ghost" in answer.text)
            changed = scene.dump() != before
            mine, wrote = why in OF_RUNS.values(), why == OF_RUNS["/tasks/{task_id}/app"]
            leaks = scene.leaks(asked, told) - (lent if actor.name == "bob" else set())
            if (not why and not refused) or (leaks and not mine) or changed != wrote:
                wrong.append((actor.name, method, filled, body, answer.status, answer.text[:200], leaks, changed))
            if changed:
                await settled()
                scene.put_back(before)
    assert tried > 4_000
    assert not wrong, "\n".join(map(str, wrong[:40]))


EVENTS: dict[str, Callable[[Scene, Actor], list[Any]]] = {
    "/chat chat:send": lambda scene, actor: [
        *_send(scene, {"own": actor.own}),
        *({"task_id": task.id, "team_id": task.team_id, "message": "hi"} for task in scene.tasks),
    ],
    "/chat chat:cancel": lambda scene, _: [{"subtask_id": row.id} for row in scene.rows],
    "/chat chat:retry": lambda scene, _: [{"task_id": row.task_id, "subtask_id": row.id} for row in scene.rows],
    "/chat chat:resume": lambda scene, _: [
        {"task_id": row.task_id, "subtask_id": row.id, "attempt": 1, "offset": 0} for row in scene.rows
    ],
    "/chat task:join": lambda scene, _: [{"task_id": task.id} for task in scene.tasks],
    "/chat task:leave": lambda scene, _: [],  # leaves a room where one is, and says nothing of others
    "/chat history:sync": lambda scene, _: [{"task_id": task.id} for task in scene.tasks],
    "/chat skill:response": lambda scene, _: [{"request_id": scene.request_id, "success": True, "result": 1}],
    "/chat auth:refresh": lambda scene, _: [{"token": scene.ada.token}],
    "/chat task:close-session": lambda scene, _: [{"task_id": task.id} for task in scene.tasks],
    "/local-executor device:register": lambda scene, _: [],  # of one's own device, by its token
    "/local-executor device:heartbeat": lambda scene, _: [{"device_id": LAPTOP, "running_task_ids": _answers(scene)}],
    "/local-executor device:status": lambda scene, _: [{"device_id": LAPTOP, "status": "busy"}],
    "/local-executor task:progress": lambda scene, _: [
        {"subtask_id": each, "attempt": 1, "delta": "x", "offset": 0} for each in _answers(scene)
    ],
    "/local-executor task:complete": lambda scene, _: [
        {"subtask_id": each, "attempt": 1, "status": "COMPLETED", "result": {"value": "x"}} for each in _answers(scene)
    ],
    "/local-executor auth:refresh": lambda scene, _: [{"token": scene.ada.token}],
}
"""What a stranger says; nothing: the event names nothing of anybody else's."""


async def test_no_event_gives_anybody_what_is_hers(scene: Scene) -> None:
    known = {f"{path} {event}" for path, namespace in scene.namespaces.items() for event in namespace.handlers}
    assert known == set(EVENTS), "say in EVENTS what a stranger says"
    tried, wrong = 0, []
    for actor in scene.actors:
        for path in scene.namespaces:
            try:
                client = await scene.socket(path, actor.token or "")
            except WegentError:
                continue
            if path == "/local-executor":
                device = "box" if "bob" in actor.name else "other"
                assert "error" not in await client.emit("device:register", {"device_id": device, "name": "mine"})
            await settled()
            before = scene.dump()
            for event in scene.namespaces[path].handlers:
                for payload in EVENTS[f"{path} {event}"](scene, actor):
                    client.frames.clear()
                    with trio.move_on_after(5):
                        ack = await client.emit(event, payload)
                    await settled()
                    tried += 1
                    told = " ".join(str(frame.data) for frame in client.frames)
                    leaks = scene.leaks(json.dumps(payload), told)
                    changed = scene.dump() != before
                    refused = isinstance(ack, dict) and ack.get("code") in REFUSED
                    given = event == "auth:refresh" and actor.name.startswith("ada's")  # her own token, for herself
                    if (not refused and not given) or leaks or changed:
                        wrong.append((actor.name, path, event, payload, ack, leaks, changed))
                    if changed:
                        scene.put_back(before)
            client.disconnect()
            await settled()
    assert tried > 300
    assert not wrong, "\n".join(map(str, wrong[:40]))
