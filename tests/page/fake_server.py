"""A stand-in for the server: it speaks just enough of the protocol to try the page against, and can misbehave.

Run it by hand with `python tests/page/fake_server.py [PORT]` and log in as admin, password secret.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, request, send_from_directory, websocket
from quart_trio import QuartTrio

PAGE = Path(__file__).parents[2] / "wegent" / "page"
POLICY = "default-src 'self'; require-trusted-types-for 'script'; base-uri 'none'; frame-ancestors 'none'"
ANSWER = """## A stand-in answers

You said something, and this is **streamed** text with `code`, a [link](https://example.org/a) and an emoji 👩‍🚀.

```python
def greet(name: str) -> str:
    return f"Hello, {name} 👋"
```

| column | value |
|---|---:|
| offsets | code points |
| 漢字 | 2 |

1. It has lists,
2. with *emphasis*,
   - and nesting.

> And a quote, <b>not markup</b>.
"""
NOW = "2026-01-01T12:00:00Z"
ENDINGS = {"COMPLETED": "chat:done", "FAILED": "chat:error", "CANCELLED": "chat:cancelled"}


@attrs.define(eq=False)
class Row:
    """A row, and the log of its current attempt."""

    id: int
    message_id: int
    role: str
    prompt: str = ""
    status: str = "COMPLETED"
    attempt: int = 1
    text: str = ""
    thinking: str = ""
    blocks: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    client_message_id: str | None = None
    error: str | None = None
    cancelled: bool = False

    def result(self) -> dict[str, Any]:
        return {"value": self.text, "thinking": self.thinking, "blocks": list(self.blocks.values())}

    def wire(self, revision: int) -> dict[str, Any]:
        sender = {"user_id": 1, "user_name": "admin"} if self.role == "USER" else None
        return {
            "id": self.id, "message_id": self.message_id, "revision": revision, "attempt": self.attempt,
            "role": self.role, "prompt": self.prompt, "result": self.result(), "status": self.status,
            "error_message": self.error, "error_type": "model" if self.error else None, "sender": sender,
            "client_message_id": self.client_message_id, "created_at": NOW, "contexts": [],
        }  # fmt: skip


@attrs.define(eq=False)
class Task:
    """A conversation and the connections in its room."""

    id: int
    title: str
    revision: int = 1
    status: str = "PENDING"
    device_id: str | None = None
    rows: list[Row] = attrs.field(factory=list)
    room: set[Connection] = attrs.field(factory=set)

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.id, "title": self.title, "status": self.status, "progress": 0, "revision": self.revision,
            "team_id": 1, "team_name": "Assistant", "created_at": NOW, "updated_at": NOW, "device_id": self.device_id,
        }  # fmt: skip


@attrs.define(eq=False)
class Connection:
    """A raw WebSocket: what waits for it, and a way to close it."""

    send: trio.MemorySendChannel[dict[str, Any]]
    close_code: int | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def emit(self, event: str, data: dict[str, Any]) -> None:
        self.send.send_nowait({"event": event, "data": data})


class Fake:
    """The stand-in. `answer`, `step`, `pace` and `fail` shape runs, `skip` loses the next chunks, `close` hangs up."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.answer = ANSWER
        self.pace = 0.004
        self.step = 3
        self.fail: str | None = None
        self.skip = 0
        self.refuse: dict[str, tuple[str, str]] = {}
        self.tasks: dict[int, Task] = {}
        self.devices: dict[str, dict[str, Any]] = {}
        self.connections: set[Connection] = set()
        self.seen: list[str] = []
        self.ids = iter(range(1, 10_000))

    # What a test does

    def close(self, code: int) -> None:
        for connection in self.connections:
            connection.close_code = code
            connection.scope.cancel()

    def add_device(self, device_id: str, name: str, **fields: Any) -> None:
        self.devices[device_id] = {
            "device_id": device_id, "name": name, "status": "online", "connected": True, "is_default": False,
            "slot_used": 0, "slot_max": 5, "running_tasks": [], "created_at": NOW, **fields,
        }  # fmt: skip

    def tell(self, event: str, data: dict[str, Any]) -> None:
        for connection in self.connections:
            connection.emit(event, data)

    def row(self, role: str = "ASSISTANT") -> Row:
        return [row for task in self.tasks.values() for row in task.rows if row.role == role][-1]

    # Events

    def handle(self, connection: Connection, event: str, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The ack, and then, once it is queued, what follows it."""
        self.seen.append(event)
        if event in self.refuse:
            error, code = self.refuse[event]
            yield {"error": error, "code": code}
            return
        handler = getattr(self, "on_" + event.replace(":", "_").replace("-", "_"), None)
        if handler is None:
            yield {"error": f"Unknown event {event}", "code": "INVALID_PAYLOAD"}
        else:
            yield from handler(connection, **data)

    def on_auth_refresh(self, connection: Connection, token: str) -> Iterator[dict[str, Any]]:
        yield {"success": True, "expires_at": NOW}

    def on_task_leave(self, connection: Connection, task_id: int) -> Iterator[dict[str, Any]]:
        self.tasks[task_id].room.discard(connection)
        yield {"success": True}

    def on_task_join(self, connection: Connection, task_id: int, limit: int, **_: Any) -> Iterator[dict[str, Any]]:
        task = self.tasks.get(task_id)
        if task is None:
            yield {"error": "There is no such task", "code": "NOT_FOUND"}
            return
        running = next((row for row in task.rows if row.status in ("RUNNING", "CANCELLING")), None)
        streaming = running and {
            "subtask_id": running.id, "attempt": running.attempt, "offset": len(running.text),
            "cached_content": running.text, "thinking": running.thinking, "started_at": NOW,
            "values": {"blocks": list(running.blocks.values())}, "last_activity_at": NOW,
        }  # fmt: skip
        rows = [row.wire(task.revision) for row in task.rows[-limit:]]
        more = len(task.rows) > limit
        yield {"streaming": streaming, "subtasks": rows, "revision": task.revision, "has_more": more}
        task.room.add(connection)

    def on_history_sync(
        self, connection: Connection, task_id: int, before_message_id: int, limit: int
    ) -> Iterator[dict[str, Any]]:
        rows = [row for row in self.tasks[task_id].rows if row.message_id < before_message_id]
        messages = [
            {"subtask_id": row.id, "message_id": row.message_id, "role": row.role, "status": row.status,
             "content": row.text or row.prompt, "created_at": NOW, "sender": None}
            for row in rows[-limit:]
        ]  # fmt: skip
        yield {"messages": messages, "has_more": len(rows) > limit}

    def on_chat_send(
        self,
        connection: Connection,
        message: str,
        client_message_id: str,
        task_id: int | None = None,
        device_id: str | None = None,
        **_: Any,
    ) -> Iterator[dict[str, Any]]:
        known = [(t, r) for t in self.tasks.values() for r in t.rows if r.client_message_id == client_message_id]
        if known:
            task, said = known[0]
            reply = task.rows[task.rows.index(said) + 1]
        else:
            task = self.tasks.get(task_id or 0) or Task(next(self.ids), message[:60], device_id=device_id)
            said = Row(next(self.ids), len(task.rows) + 1, "USER", message, client_message_id=client_message_id)
            reply = Row(next(self.ids), len(task.rows) + 2, "ASSISTANT", status="PENDING")
            task.rows += [said, reply]
            self.tasks[task.id] = task
            self.nursery.start_soon(self.run, task, reply)
        if task_id is None and not known:
            connection.emit("task:created", {**task.wire(), "task_id": task.id, "is_group_chat": False})
        yield {
            "task_id": task.id, "subtask_id": said.id, "message_id": said.message_id, "assistant_subtask_id": reply.id,
        }  # fmt: skip
        task.room.add(connection)

    def on_task_close_session(self, connection: Connection, task_id: int) -> Iterator[dict[str, Any]]:
        yield {"success": True}

    def on_chat_cancel(self, connection: Connection, subtask_id: int) -> Iterator[dict[str, Any]]:
        row = next(row for task in self.tasks.values() for row in task.rows if row.id == subtask_id)
        row.cancelled = True
        row.status = "CANCELLING"
        yield {"success": True, "status": "CANCELLING"}

    def on_chat_retry(
        self, connection: Connection, task_id: int, subtask_id: int, **_: Any
    ) -> Iterator[dict[str, Any]]:
        task = self.tasks[task_id]
        row = next(row for row in task.rows if row.id == subtask_id)
        row.attempt += 1
        row.text, row.thinking, row.blocks, row.error, row.cancelled = "", "", {}, None, False
        row.status = "PENDING"
        self.nursery.start_soon(self.run, task, row)
        yield {"success": True, "attempt": row.attempt}

    def on_chat_resume(
        self, connection: Connection, task_id: int, subtask_id: int, attempt: int, offset: int
    ) -> Iterator[dict[str, Any]]:
        row = next(row for row in self.tasks[task_id].rows if row.id == subtask_id)
        start = offset if attempt == row.attempt and offset <= len(row.text) else 0
        yield {"success": True, "attempt": row.attempt, "offset": start, "status": row.status}
        thinking = {"content": row.thinking, "offset": 0}
        connection.emit("chat:chunk", self.chunk(task_id, row, row.text[start:], start, thinking=thinking))

    # Runs

    def chunk(self, task_id: int, row: Row, content: str, offset: int, **result: Any) -> dict[str, Any]:
        ids = {"task_id": task_id, "subtask_id": row.id, "attempt": row.attempt}
        return {**ids, "content": content, "offset": offset, "result": result}

    def emit(self, task: Task, event: str, data: dict[str, Any]) -> None:
        for connection in task.room & self.connections:
            connection.emit(event, data)

    def status(self, task: Task, status: str) -> None:
        task.revision += 1
        task.status = status
        for connection in self.connections:
            connection.emit("task:status", {**task.wire(), "task_id": task.id})

    async def run(self, task: Task, row: Row) -> None:
        await trio.sleep(self.pace)
        row.status = "RUNNING"
        ids = {"task_id": task.id, "subtask_id": row.id, "message_id": row.message_id, "attempt": row.attempt}
        self.status(task, "RUNNING")
        self.emit(task, "chat:start", {**ids, "revision": task.revision, "bot_name": "Assistant", "shell_type": "Chat"})
        await self.think(task, row)
        answer = self.answer
        for at in range(0, len(answer), self.step):
            if row.cancelled or (self.fail is not None and at > len(answer) // 2):
                break
            if at <= len(answer) // 4 < at + self.step:
                self.use_tool(task, row)
            delta = answer[at : at + self.step]
            row.text += delta
            self.skip -= 1
            if self.skip < 0:
                self.emit(task, "chat:chunk", self.chunk(task.id, row, delta, at))
            await trio.sleep(self.pace)
        row.error = None if row.cancelled else self.fail
        row.status = "CANCELLED" if row.cancelled else "FAILED" if self.fail else "COMPLETED"
        task.revision += 1
        failure = {"error": row.error, "type": "model"} if row.error else {}
        ending = {**ids, **failure, "revision": task.revision, "offset": len(row.text), "result": row.result()}
        self.emit(task, ENDINGS[row.status], ending)
        self.status(task, row.status)

    async def think(self, task: Task, row: Row) -> None:
        thought = "The person said something. I shall answer with a bit of everything."
        for word in thought.split(" "):
            delta = {"content": word + " ", "offset": len(row.thinking)}
            row.thinking += word + " "
            self.emit(task, "chat:chunk", self.chunk(task.id, row, "", len(row.text), thinking=delta))
            await trio.sleep(self.pace)

    def use_tool(self, task: Task, row: Row) -> None:
        for version, status in enumerate(("pending", "streaming", "done"), start=1):
            output = {"found": 3} if status == "done" else None
            row.blocks["t1"] = {
                "id": "t1", "version": version, "at": len(row.text), "type": "tool", "tool_name": "search",
                "tool_input": {"query": "streaming"}, "tool_output": output, "status": status, "timestamp": NOW,
            }  # fmt: skip
            chunk = self.chunk(task.id, row, "", len(row.text), blocks=[row.blocks["t1"]])
            self.emit(task, "chat:chunk", chunk)


def add_device_routes(app: QuartTrio, fake: Fake) -> None:
    @app.get("/api/v1/executions")
    async def executions() -> Any:
        return {"items": []}

    @app.get("/api/v1/knowledge-bases")
    async def bases() -> Any:
        return {"items": []}

    @app.get("/api/v1/devices")
    async def devices() -> Any:
        return {"items": list(fake.devices.values())}

    @app.put("/api/v1/devices/<device_id>/default")
    async def prefer(device_id: str) -> Any:
        for device in fake.devices.values():
            device["is_default"] = device["device_id"] == device_id
        return fake.devices[device_id]

    @app.delete("/api/v1/devices/<device_id>")
    async def remove(device_id: str) -> Any:
        del fake.devices[device_id]
        return {"success": True}


def make_app(fake: Fake) -> QuartTrio:
    app = QuartTrio(__name__)
    add_device_routes(app, fake)

    @app.after_request
    async def policy(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @app.get("/")
    async def index() -> Response:
        return await send_from_directory(PAGE, "index.html")

    @app.get("/<path:name>")
    async def file(name: str) -> Response:
        return await send_from_directory(PAGE, name)

    @app.post("/api/v1/auth/login")
    async def login() -> Any:
        said = await request.get_json()
        if said != {"user_name": "admin", "password": "secret"}:
            return {"error": "Wrong user name or password", "code": "NOT_AUTHENTICATED"}, 401
        user = {"id": 1, "user_name": "admin"}
        return {"access_token": "t", "token_type": "bearer", "expires_at": "2099-01-01T00:00:00Z", "user": user}

    @app.get("/api/v1/tasks")
    async def tasks() -> Any:
        return {"items": [task.wire() for task in reversed(fake.tasks.values())]}

    @app.get("/api/v1/kinds/team")
    async def teams() -> Any:
        return {"items": [{"id": 1, "kind": "Team", "metadata": {"name": "assistant", "displayName": "Assistant"}}]}

    @app.websocket("/ws/chat")
    async def chat() -> None:
        await talk(fake)

    return app


async def talk(fake: Fake) -> None:
    """One raw connection, from its first frame to its close."""
    first = json.loads(await websocket.receive())
    if first.get("auth", {}).get("token") != "t":
        await websocket.send(json.dumps({"error": "Invalid or expired token", "code": "NOT_AUTHENTICATED"}))
        await websocket.close(4401)
        return
    send, receive = trio.open_memory_channel[dict[str, Any]](100_000)
    connection = Connection(send)
    fake.connections.add(connection)
    send.send_nowait({"ready": {"sid": "fake.1", "ping_interval": 25}})
    try:
        with connection.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write, receive)
                while True:
                    frame = json.loads(await websocket.receive())
                    answers = fake.handle(connection, frame["event"], frame["data"])
                    send.send_nowait({"ack": frame["id"], "data": next(answers)})
                    next(answers, None)
    finally:
        fake.connections.discard(connection)
    await websocket.close(connection.close_code or 1001)


async def write(receive: trio.MemoryReceiveChannel[dict[str, Any]]) -> None:
    async for frame in receive:
        await websocket.send(json.dumps(frame))


@asynccontextmanager
async def fake_server(port: int = 0) -> AsyncIterator[tuple[Fake, str]]:
    """Serve the page and the stand-in; gives it and its address."""
    config = Config()
    listener = socket.create_server(("127.0.0.1", port))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 0.1
    config.errorlog = None
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        fake = Fake(nursery)
        nursery.start_soon(lambda: serve(make_app(fake), config, shutdown_trigger=stop.wait))
        yield fake, address
        fake.close(1001)
        stop.set()
        await trio.sleep(0.15)
        nursery.cancel_scope.cancel()


async def main() -> None:
    async with fake_server(int(sys.argv[1]) if len(sys.argv) > 1 else 8899) as (_, address):
        print(address)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
