"""Every event, call and recovery of the protocol, as a fixed list; run as a module, this writes its table.

The table is docs/reference/protocol-table.md. A row is one thing that goes over the wire, or one way to get over a
loss; test_protocol_table.py has a stock client see each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import fields

from wegent.protocol import events

TABLE = Path(__file__).parents[2] / "docs/reference/protocol-table.md"

CLIENT = {
    events.CHAT: """chat:send chat:cancel chat:retry chat:resume task:join task:leave task:close-session history:sync
        skill:response auth:refresh""",
    events.LOCAL_EXECUTOR: "device:register device:heartbeat device:status task:progress task:complete auth:refresh",
}
"""What clients and devices send."""
SERVER = {
    events.CHAT: """auth:error chat:start chat:chunk chat:done chat:error chat:cancelled chat:message task:created
        task:status task:updated task:app_update device:online device:offline device:status device:slot_update
        skill:request correction:start correction:progress correction:chunk correction:done correction:error
        background:execution_update sync:required""",
    events.LOCAL_EXECUTOR: """auth:error device:replaced task:execute task:cancel task:skill task:close-session""",
}
"""What the server sends; those to devices want an ack, but for the first two."""
RUNNER = "chunk thinking block progress app skill heartbeat done error"
"""What a runner says, in the `events` of a report."""
REST = """
POST /auth/login
POST /auth/register
GET /users/me
PUT /users/me
GET /users
POST /users
GET /users/{user_id}
PUT /users/{user_id}
GET /tokens
POST /tokens
DELETE /tokens/{token_id}
GET /tasks
POST /tasks
GET /tasks/{task_id}
PUT /tasks/{task_id}
DELETE /tasks/{task_id}
POST /tasks/{task_id}/messages
POST /tasks/{task_id}/cancel
PUT /tasks/{task_id}/read
POST /tasks/{task_id}/subtasks/{subtask_id}/edit
GET /tasks/{task_id}/subtasks
GET /tasks/{task_id}/stream
GET /tasks/{task_id}/members
POST /tasks/{task_id}/members
DELETE /tasks/{task_id}/members/{user_id}
POST /tasks/{task_id}/leave
POST /tasks/{task_id}/group-chat
POST /tasks/{task_id}/app
POST /tasks/fetch
PUT /tasks/{task_id}/status
GET /kinds/{kind}
POST /kinds/{kind}
GET /kinds/{kind}/{namespace}/{name}
PUT /kinds/{kind}/{namespace}/{name}
DELETE /kinds/{kind}/{namespace}/{name}
POST /kinds/apply
GET /devices
PUT /devices/{device_id}/default
DELETE /devices/{device_id}
GET /executions
POST /executions
GET /executions/{execution_id}
PUT /executions/{execution_id}
DELETE /executions/{execution_id}
POST /chat/correct
GET /subtasks/{subtask_id}/correction
DELETE /subtasks/{subtask_id}/correction
POST /subtasks/{subtask_id}/correction/apply
POST /attachments
GET /attachments/{attachment_id}
DELETE /attachments/{attachment_id}
GET /knowledge-bases
POST /knowledge-bases
GET /knowledge-bases/{base_id}
PUT /knowledge-bases/{base_id}
DELETE /knowledge-bases/{base_id}
GET /knowledge-bases/{base_id}/documents
POST /knowledge-bases/{base_id}/documents
GET /knowledge-bases/{base_id}/documents/{document_id}
DELETE /knowledge-bases/{base_id}/documents/{document_id}
POST /responses
GET /responses/{response_id}
POST /responses/{response_id}/cancel
GET /health
GET /ready
GET /metrics
GET /openapi.json
GET /docs
"""
"""Calls below `/api/v1`."""
SHELL = """POST /v1/response
POST /v1/response/cancel
GET /v1/health
response.start
content.delta
thinking.delta
tool.start
tool.progress
tool.done
sources.update
response.done
response.cancelled
response.error
"""
"""The Chat Shell as a service: its calls, and the events of its answers."""
RECOVERY = {
    "page refresh": "`task:join` in the middle of an answer: what was said, then the rest, nothing twice",
    "reconnect": "`task:join` with `after_revision` over a new connection",
    "return to a tab": "`task:join` with `after_message_id`: later rows, and those that changed meanwhile",
    "interrupted stream": "`chat:resume` from one's own length",
    "slow reader": "who reads nothing for a while gets what was said meanwhile in few large chunks",
    "server killed": "runs of its own fail as `worker_lost` and keep their text; a device goes on with its own",
    "device lost": "its run fails as `device_lost` once its window is over",
    "host lost": "its run is taken over by another host as a further attempt, where `on_lost` says so",
}
"""How to get over a loss (protocol §6)."""
ELSEWHERE = {
    "Redis gone": "tests/e2e/test_workers_without_redis.py",
    "database gone": "tests/e2e/test_database_away.py",
    "worker of several killed": "tests/e2e/test_workers.py",
}
"""Losses that need more than one server to be seen; their tests have stock clients of their own."""
NOT_YET = {
    "shell sources.update": "no engine names its sources",
}
"""What the protocol has and this server does not."""


def rows() -> list[str]:
    """Every row by its name: where it belongs, then what it is."""
    names = [f"client {path} {name}" for path, given in CLIENT.items() for name in given.split()]
    names += [f"server {path} {name}" for path, given in SERVER.items() for name in given.split()]
    names += [f"runner {name}" for name in RUNNER.split()]
    names += [f"rest {call}" for call in REST.split("\n") if call]
    names += [f"shell {each}" for each in SHELL.split("\n") if each]
    return [*names, *(f"recovery {name}" for name in RECOVERY)]


def rendered() -> str:
    """The table as it is committed."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# The protocol as a table"
    yield ""
    yield "Made by `python -m tests.e2e.protocol_list`; do not change it by hand. Each row was seen on the wire by a"
    yield "client that others wrote, python-socketio or httpx, in tests/e2e/test_protocol_table.py; one that nobody"
    yield "sees fails the build."
    for path, given in CLIENT.items():
        yield from _head(f"`{path}`, to the server", "event", "payload", "ack")
        for name in given.split():
            event = events.event(path, name, from_client=True)
            yield f"| `{name}` | {_fields(event.payload)} | {_fields(event.ack)} |"
    for path, given in SERVER.items():
        yield from _head(f"`{path}`, from the server", "event", "goes to", "payload")
        for name in given.split():
            event = events.event(path, name, from_client=False)
            yield f"| `{name}` | {event.room} | {_fields(event.payload)} |"
    yield from _head("What a runner says", "message")
    yield from (f"| `{name}` |" for name in RUNNER.split())
    yield from _head("REST, below `/api/v1`", "call", "")
    for call in filter(None, REST.split("\n")):
        yield f"| `{call}` | {_not_yet(f'rest {call}')} |"
    yield from _head("The Chat Shell as a service", "call or event", "")
    for each in filter(None, SHELL.split("\n")):
        yield f"| `{each}` | {_not_yet(f'shell {each}')} |"
    yield from _head("Recovery", "after", "what is seen")
    yield from (f"| {name} | {seen} |" for name, seen in RECOVERY.items())
    yield from (f"| {name} | see {path} |" for name, path in ELSEWHERE.items())


def _head(title: str, *names: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", "| " + " | ".join(names) + " |", "|---" * len(names) + "|")


def _fields(payload: type | None) -> str:
    if payload is None:
        return ""
    return ", ".join(f"`{each.name}`" for each in fields(payload))


def _not_yet(row: str) -> str:
    return f"not there yet: {NOT_YET[row]}" if row in NOT_YET else ""


if __name__ == "__main__":
    TABLE.write_text(rendered())
