"""Everything that the protocol has, done once; each function is a chapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.e2e.protocol_scene import LOCAL, Story
from tests.e2e.recorder import Rest, Socket
from tests.e2e.serving import until
from tests.e2e.working import program

FARM = "farm"
FAR = "2100-01-01T00:00:00Z"
APP = {"name": "site", "address": "127.0.0.1:3000", "previewUrl": "http://127.0.0.1:3000/"}


def people(story: Story) -> None:
    rest = story.rest
    registered = Rest(story.seen, story.server)("POST", "/auth/register", {"user_name": "bob", "password": "bob's own"})
    assert registered["user"]["user_name"] == "bob"
    made = rest("POST", "/users", {"user_name": "carol", "password": "carol's own"})
    rest("PUT", f"/users/{made['id']}", {"role": "admin"})
    assert rest("GET", f"/users/{made['id']}")["role"] == "admin"
    assert len(rest("GET", "/users")["items"]) == 3
    rest("PUT", "/users/me", {"avatar": "🦉"})
    assert rest("GET", "/users/me")["avatar"] == "🦉"
    for path in ("/health", "/ready", "/metrics", "/openapi.json", "/docs"):
        rest("GET", path)


def kinds(story: Story) -> None:
    def kind(kind: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": "wegent/v1", "kind": kind, "metadata": {"name": FARM}, "spec": spec}

    ghost, shell, bot = {"name": "assistant"}, {"name": FARM}, {"botRef": {"name": FARM}}
    story.rest(
        "POST",
        "/kinds/apply",
        [
            kind("Shell", shellType="Agent", executor=FARM),
            kind("Bot", ghostRef=ghost, shellRef=shell),
            kind("Team", members=[bot]),
            {
                **kind(
                    "Model",
                    modelConfig={
                        "engine": "openai",
                        "model_id": "m",
                        "base_url": "http://127.0.0.1:9/v1",
                        "api_key": "k",
                        "max_retries": 0,
                    },
                ),
                "metadata": {"name": "broken"},
            },
        ],
    )
    skill = {"metadata": {"name": "map"}, "spec": {"description": "draws"}}
    story.rest("POST", "/kinds/skill", {**skill, "kind": "Skill", "apiVersion": "wegent/v1"})
    story.rest("PUT", "/kinds/skill/default/map", {**skill, "kind": "Skill", "apiVersion": "wegent/v1"})
    assert story.rest("GET", "/kinds/skill")["items"]
    story.rest("GET", "/kinds/skill/default/map")
    story.rest("DELETE", "/kinds/skill/default/map")


def chats(story: Story) -> None:
    """One's own task over the socket: an answer, one that fails and is tried again, one that is cancelled."""
    socket = story.socket
    sent = story.said("/echo Hello there, and some more")
    task_id = sent["task_id"]
    socket.wait("task:created", lambda told: told["task_id"] == task_id)
    socket.wait("chat:start")
    socket.wait("task:status", lambda told: told["status"] == "COMPLETED")
    assert socket.text(sent) == "Hello there, and some more"
    assert socket("history:sync", {"task_id": task_id})["messages"][1]["content"] == "Hello there, and some more"
    failed = story.send("/error", task_id=task_id)
    socket.ended(failed, "chat:error")
    row = {"task_id": task_id, "subtask_id": failed["assistant_subtask_id"]}
    assert socket("chat:retry", row)["attempt"] == 2
    socket.ended(failed, "chat:error", attempt=2)
    slow = story.send("/slow", task_id=task_id)
    socket.wait("chat:chunk", lambda told: told["subtask_id"] == slow["assistant_subtask_id"])
    socket("chat:cancel", {"subtask_id": slow["assistant_subtask_id"]})
    socket.ended(slow, "chat:cancelled")
    socket("auth:refresh", {"token": story.token})
    socket("task:leave", {"task_id": task_id})


def tasks(story: Story) -> None:
    """The same over REST, and a group."""
    rest, bob = story.rest, Socket(story.seen, story.server, story.server.login("bob", "bob's own"))
    sent = rest("POST", "/tasks", {"team_id": story.team, "message": "/echo one"})
    path, task_id = f"/tasks/{sent['task_id']}", sent["task_id"]
    assert "chat:done" in rest("GET", f"{path}/stream", params={"subtask_id": sent["assistant_subtask_id"]})
    rest("PUT", path, {"title": "another"})
    story.socket.wait("task:updated", lambda told: told.get("title") == "another")
    assert rest("GET", path)["title"] == "another"
    assert rest("GET", "/tasks")["items"][0]["id"] == task_id
    assert len(rest("GET", f"{path}/subtasks")["subtasks"]) == 2
    rest("POST", f"{path}/subtasks/{sent['subtask_id']}/edit", {"message": "/echo two"})
    story.socket.wait("sync:required", lambda told: told["scope"] == f"task:{task_id}")
    until(lambda: rest("GET", path)["status"] == "COMPLETED")
    rest("POST", f"{path}/group-chat", {})
    (_, member) = rest("POST", f"{path}/members", {"user_name": "bob"})["items"]
    bob.wait("task:created")
    bob("task:join", {"task_id": task_id})
    rest("POST", f"{path}/messages", {"message": "to all of you"})
    assert bob.wait("chat:message")["content"] == "to all of you"
    Rest(story.seen, story.server, bob.token)("PUT", f"{path}/read", {"message_id": 3})
    Rest(story.seen, story.server, bob.token)("POST", f"{path}/leave")
    rest("POST", f"{path}/members", {"user_name": "bob"})
    assert len(rest("GET", f"{path}/members")["items"]) == 2
    rest("DELETE", f"{path}/members/{member['user_id']}")
    bob.lose()
    assert rest("POST", f"{path}/app", APP)["app"] == APP
    assert rest("GET", path)["app"] == APP
    slow = rest("POST", "/tasks", {"team_id": story.team, "message": "/slow"})
    rest("POST", f"/tasks/{slow['task_id']}/cancel", {})
    rest("DELETE", f"/tasks/{slow['task_id']}")


def corrections(story: Story) -> None:
    socket, rest = story.socket, story.rest
    sent = story.said("/echo I said said that 2 + 2 = 5.")
    row = {"task_id": sent["task_id"], "subtask_id": sent["assistant_subtask_id"]}
    path = f"/subtasks/{row['subtask_id']}/correction"
    rest("POST", "/chat/correct", row)
    for name in ("start", "progress", "chunk"):
        socket.wait(f"correction:{name}")
    assert "4" in socket.wait("correction:done")["result"]["improved_answer"]
    assert rest("GET", path)["status"] == "DONE"
    rest("POST", f"{path}/apply")
    socket.ended(sent, attempt=2)
    rest("DELETE", path)
    rest("POST", "/chat/correct", {**row, "model": "broken"})
    socket.wait("correction:error")


def files(story: Story) -> None:
    rest = story.rest
    made = rest("POST", "/attachments", files={"file": ("notes.txt", b"old times", "text/plain")})
    assert rest("GET", f"/attachments/{made['id']}") == "old times"
    base = rest("POST", "/knowledge-bases", {"name": "notes"})["id"]
    path = f"/knowledge-bases/{base}"
    rest("PUT", path, {"name": "old notes"})
    assert rest("GET", path)["name"] == "old notes"
    document = rest("POST", f"{path}/documents", {"attachment_id": made["id"]})["id"]
    assert rest("GET", f"{path}/documents")["items"][0]["id"] == document
    assert rest("GET", f"{path}/documents/{document}")["text"] == "old times"
    context = {"type": "knowledge_base", "id": base}
    story.said("/echo x", attachment_ids=[made["id"]], contexts=[context])
    rest("DELETE", f"{path}/documents/{document}")
    rest("DELETE", path)
    assert rest("GET", "/knowledge-bases")["items"] == []
    rest("DELETE", f"/attachments/{made['id']}")


def executions(story: Story) -> None:
    rest = story.rest
    rest("POST", "/executions", {"team_id": story.team, "prompt": "/echo later"})
    story.socket.wait("background:execution_update", lambda told: told["status"] == "COMPLETED")
    later = {"team_id": story.team, "prompt": "/echo x", "run_at": FAR}
    path = f"/executions/{rest('POST', '/executions', later)['id']}"
    rest("PUT", path, {**later, "prompt": "/echo y"})
    assert rest("GET", path)["prompt"] == "/echo y"
    rest("DELETE", path)
    assert len(rest("GET", "/executions")["items"]) == 1


def tokens(story: Story) -> None:
    made = [story.rest("POST", "/tokens", {"name": name}) for name in ("one", "two")]
    sockets = [
        Socket(story.seen, story.server, each["token"], path) for each, path in zip(made, ("/chat", LOCAL), strict=True)
    ]
    sockets[1]("auth:refresh", {"token": made[1]["token"]})
    for each in made:
        story.rest("DELETE", f"/tokens/{each['id']}")
    for socket in sockets:
        assert socket.wait("auth:error")["code"] == "INVALID_TOKEN"
    assert len(story.rest("GET", "/tokens")["items"]) > 2


def devices(story: Story) -> None:
    """A device does a run that asks for something, is cancelled, closed, replaced, and goes."""
    socket, rest = story.socket, story.rest
    scoped = rest("POST", "/tokens", {"scope": "device", "device_id": "desk"})["token"]
    desk = story.device("desk", scoped)
    socket.wait("device:online")
    desk("device:heartbeat", {"device_id": "desk", "running_task_ids": []})
    for status in ("busy", "online"):
        desk("device:status", {"device_id": "desk", "status": status})
    socket.wait("device:status", lambda told: told["status"] == "busy")
    sent = story.send("work", device_id="desk")
    run = {name: desk.wait("task:execute")[name] for name in ("subtask_id", "attempt")}
    socket.wait("device:slot_update", lambda told: (told["device_id"], told["slot_used"]) == ("desk", 1))
    events = [
        {"type": "thinking", "content": "hm"},
        {"type": "chunk", "content": "Grüße 👋🏽"},
        {"type": "block", "id": "t", "tool_name": "map", "status": "done", "tool_output": [1]},
        {"type": "progress", "progress": 40},
        {"type": "app", **APP},
        {"type": "heartbeat"},
        {"type": "skill", "id": "s", "skill_name": "place", "action": "where", "data": {}},
    ]
    _reported(story, desk, run, events)
    assert socket.wait("task:app_update")["app"]["previewUrl"] == APP["previewUrl"]
    assert socket.wait("chat:chunk", lambda told: "blocks" in told.get("result", {}))
    asked = socket.wait("skill:request")
    socket("skill:response", {"request_id": asked["request_id"], "success": True, "result": {"city": "Köln"}})
    assert desk.wait("task:skill")["result"] == {"city": "Köln"}
    desk("task:complete", {**run, "status": "COMPLETED"})
    assert socket.ended(sent)["result"]["value"] == "Grüße 👋🏽"
    for ending in ({"type": "done"}, {"type": "error", "message": "it broke"}):
        more = story.send("work", task_id=sent["task_id"])
        job = desk.wait("task:execute", lambda told, row=more["assistant_subtask_id"]: told["subtask_id"] == row)
        _reported(story, desk, {name: job[name] for name in ("subtask_id", "attempt")}, [ending])
    last = story.send("work", task_id=sent["task_id"])
    desk.wait("task:execute", lambda told: told["subtask_id"] == last["assistant_subtask_id"])
    socket("task:close-session", {"task_id": sent["task_id"]})
    stop = desk.wait("task:cancel")
    desk("task:complete", {"subtask_id": stop["subtask_id"], "attempt": stop["attempt"], "status": "CANCELLED"})
    socket.ended(last, "chat:cancelled")
    desk.wait("task:close-session")
    again = story.device("desk")
    desk.wait("device:replaced")
    rest("PUT", "/devices/desk/default")
    assert [each["device_id"] for each in rest("GET", "/devices")["items"] if each["is_default"]] == ["desk"]
    again.lose()
    socket.wait("device:offline", lambda told: told["device_id"] == "desk")
    rest("DELETE", "/devices/desk")


def _reported(story: Story, device: Socket, run: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert "error" not in device("task:progress", {**run, "events": events})
    for each in events:
        story.seen.note(f"runner {each['type']}")


class Host:
    """An executor host; `job` is what it has fetched."""

    def __init__(self, story: Story, name: str) -> None:
        token = story.rest("POST", "/tokens", {"scope": "executor", "targets": [FARM]})["token"]
        self.rest, self.name, self.job = Rest(story.seen, story.server, token), name, {}

    def fetch(self) -> dict[str, Any]:
        body = {"executor": self.name, "targets": [FARM], "limit": 1, "wait_s": 15}
        (self.job,) = self.rest("POST", "/tasks/fetch", body)["tasks"]
        return dict(self.job)

    def report(self, **said: Any) -> Any:
        run = {name: self.job[name] for name in ("subtask_id", "attempt", "lease")}
        return self.rest("PUT", f"/tasks/{self.job['task_id']}/status", {**run, **said})


def _farmers(story: Story) -> int:
    teams = story.rest("GET", "/kinds/team")["items"]
    return int(next(each["id"] for each in teams if each["metadata"]["name"] == FARM))


def hosts(story: Story) -> None:
    """A host does a run; one that says nothing more loses its run to another."""
    socket, farmers, one, two = story.socket, _farmers(story), Host(story, "one"), Host(story, "two")
    asked = {"team_id": farmers, "message": "work", "on_lost": "rerun"}
    sent = socket("chat:send", asked)
    job = one.fetch()
    assert len(one.rest("GET", f"/tasks/{job['task_id']}/subtasks")["subtasks"]) == 2
    one.report(events=[{"type": "chunk", "content": "lost"}])
    assert two.fetch()["attempt"] == 2
    row = sent["assistant_subtask_id"]
    again = socket.wait("chat:start", lambda told: (told["subtask_id"], told["attempt"]) == (row, 2))
    assert again["reason"] == "executor_lost"
    two.report(status="COMPLETED", result={"value": "done"})
    assert socket.ended(sent, attempt=2)["result"]["value"] == "done"
    story.seen.note("recovery host lost")


def responses(story: Story) -> None:
    rest = story.rest
    made = rest("POST", "/responses", {"model": "assistant", "input": "/slow", "background": True})
    rest("POST", f"/responses/{made['id']}/cancel")
    until(lambda: rest("GET", f"/responses/{made['id']}")["status"] == "cancelled")


def chat_shell(story: Story, folder: Path) -> None:
    with program("chat-shell", "--bind", "127.0.0.1:0", "--pace", "200", home=folder) as running:
        running.says("http://")
        url = "http://" + running.text.partition("http://")[2].split()[0].rstrip(":")
        httpx.get(f"{url}/v1/health").raise_for_status()
        story.seen.note("shell GET /v1/health")
        for message in ("/tools", "/think", "/error", "/slow"):
            asked = {
                "model_config": {"model_id": "m"},
                "messages": [{"role": "user", "content": message}],
                "features": {"deep_thinking": True, "streaming": True},
                "metadata": {"request_id": message},
                "stream": True,
            }
            with httpx.stream("POST", f"{url}/v1/response", json=asked, timeout=30) as answer:
                story.seen.note("shell POST /v1/response")
                for line in answer.iter_lines():
                    if line.startswith("event: "):
                        story.seen.note(f"shell {line.removeprefix('event: ')}")
                    if message == "/slow" and "content.delta" in line:
                        httpx.post(f"{url}/v1/response/cancel", json={"request_id": message}).raise_for_status()
                        story.seen.note("shell POST /v1/response/cancel")
                        message = ""
