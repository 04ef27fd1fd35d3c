"""The peer that our users have today: python-socketio on uvicorn, uvloop and httptools, aiosqlite, httpx."""

from __future__ import annotations

import argparse
import asyncio
import gc
from typing import Any

import aiosqlite
import httpx
import jwt
import socketio
import uvicorn
from publisher import Publisher
from relay import relay

ACCESS = (
    "SELECT t.id, t.user_id, m.user_id FROM tasks t"
    " LEFT JOIN members m ON m.task_id = t.id AND m.user_id = ? WHERE t.id = ?"
)


class Database:
    """The rows behind a connection, a join and a send; one connection, as aiosqlite has one thread each."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.writing = asyncio.Lock()

    async def open(self) -> None:
        self.reader = await self._connect()
        self.writer = await self._connect()

    async def _connect(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self.path, isolation_level=None)
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    async def user(self, name: str) -> tuple[int, str] | None:
        rows = await self.reader.execute_fetchall(
            "SELECT id, user_name FROM users WHERE user_name = ? AND is_active = 1", (name,)
        )
        return next(iter(rows), None)

    async def may_see(self, user_id: int, task_id: int) -> bool:
        rows = list(await self.reader.execute_fetchall(ACCESS, (user_id, task_id)))
        return bool(rows) and user_id in rows[0][1:]

    async def add_message(self, user_id: int, task_id: int, text: str) -> tuple[int, int, int]:
        """One transaction: the task's revision and message number, then the row. Returns id, message id, revision."""
        async with self.writing:
            await self.writer.execute("BEGIN IMMEDIATE")
            rows = await self.writer.execute_fetchall(
                "UPDATE tasks SET revision = revision + 1, last_message_id = last_message_id + 1 WHERE id = ?"
                " RETURNING revision, last_message_id",
                (task_id,),
            )
            revision, message_id = next(iter(rows))
            cursor = await self.writer.execute(
                "INSERT INTO subtasks (task_id, user_id, message_id, revision, role, status, prompt, created_at)"
                " VALUES (?, ?, ?, ?, 'USER', 'COMPLETED', ?, CURRENT_TIMESTAMP)",
                (task_id, user_id, message_id, revision, text),
            )
            await self.writer.execute("COMMIT")
            return cursor.lastrowid or 0, message_id, revision


class Chat(socketio.AsyncNamespace):
    """The namespace /chat, as far as the scenarios use it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__("/chat")
        self.secret: str = arguments.secret
        self.model: str = arguments.model
        self.database = Database(arguments.database)
        self.publisher = Publisher(self._chunk)
        self.running: set[asyncio.Task[None]] = set()
        self.http: httpx.AsyncClient

    async def open(self) -> None:
        await self.database.open()
        self.http = httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=None)

    async def _chunk(self, task_id: int, subtask_id: int, offset: int, content: str) -> None:
        data = {"task_id": task_id, "subtask_id": subtask_id, "attempt": 1, "content": content, "offset": offset}
        await self.emit("chat:chunk", data, room=f"task:{task_id}")

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def on_connect(self, sid: str, _environ: dict[str, Any], auth: dict[str, str] | None) -> None:
        try:
            claims = jwt.decode((auth or {}).get("token", ""), self.secret, algorithms=["HS256"])
        except jwt.InvalidTokenError as error:
            raise ConnectionRefusedError("Invalid or expired token") from error
        user = await self.database.user(claims["sub"])
        if user is None:
            raise ConnectionRefusedError("User is not active")
        await self.save_session(sid, {"user_id": user[0], "user_name": user[1]})
        await self.enter_room(sid, f"user:{user[0]}")

    async def trigger_event(self, event: str, *args: Any) -> Any:
        return await super().trigger_event(event.replace(":", "_"), *args)

    async def on_task_join(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        session = await self.get_session(sid)
        if not await self.database.may_see(session["user_id"], data["task_id"]):
            return {"error": "No access to this task", "code": "ACCESS_DENIED"}
        await self.enter_room(sid, f"task:{data['task_id']}")
        return {"streaming": self.publisher.snapshot(data["task_id"]), "subtasks": [], "has_more": False}

    async def on_bench_echo(self, _sid: str, data: dict[str, Any]) -> dict[str, Any]:
        return data

    async def on_bench_start(self, _sid: str, data: dict[str, Any]) -> dict[str, Any]:
        self._spawn(self.publisher.run(**data))
        return {"success": True}

    async def on_chat_send(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        session, task_id = await self.get_session(sid), data["task_id"]
        if not await self.database.may_see(session["user_id"], task_id):
            return {"error": "No access to this task", "code": "ACCESS_DENIED"}
        added = await self.database.add_message(session["user_id"], task_id, data["message"])
        subtask_id, message_id, revision = added
        message = {"task_id": task_id, "subtask_id": subtask_id, "message_id": message_id, "revision": revision}
        sender = {"user_id": session["user_id"], "user_name": session["user_name"]}
        event = {**message, "role": "USER", "content": data["message"], "sender": sender}
        await self.emit("chat:message", event, room=f"task:{task_id}", skip_sid=sid)
        if self.model:
            self._spawn(self._answer(task_id, subtask_id, data["message"]))
        return {**message, "assistant_subtask_id": None}

    async def _answer(self, task_id: int, subtask_id: int, text: str) -> None:
        length = 0
        async for delta in relay(self.http, self.model, text):
            await self._chunk(task_id, subtask_id, length, delta)
            length += len(delta)
        done = {"task_id": task_id, "subtask_id": subtask_id, "attempt": 1, "offset": length}
        await self.emit("chat:done", done, room=f"task:{task_id}")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("port", "database", "secret", "model", "redis"):
        parser.add_argument(f"--{name}", default="")
    arguments = parser.parse_args()
    server = socketio.AsyncServer(
        client_manager=socketio.AsyncRedisManager(arguments.redis) if arguments.redis else None,
        async_mode="asgi",
        logger=False,
        engineio_logger=False,
        max_http_buffer_size=1_000_000,
    )
    chat = Chat(arguments)
    server.register_namespace(chat)
    app = socketio.ASGIApp(server, on_startup=chat.open)
    gc.freeze()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(arguments.port),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        backlog=4096,
        ws_per_message_deflate=False,
    )


if __name__ == "__main__":
    main()
