"""A Socket.IO server on Trio in one page: a namespace, handlers, acks both ways, a room.

python examples/socketio_echo.py 8000

const socket = io("http://127.0.0.1:8000/chat")
socket.emit("echo", {hello: "world"}, answer => console.log(answer))
"""

from __future__ import annotations

import sys
from typing import Any

import trio

from wegent.transports.socketio import Namespace, Session, SocketIOServer

chat = Namespace("/chat")
server = SocketIOServer([chat])


@chat.connected
def hello(session: Session) -> None:
    server.enter(session, "lobby")
    session.emit("hello", {"sid": session.id})


@chat.on("echo")
async def echo(session: Session, data: Any) -> Any:
    return data


@chat.on("say")
async def say(session: Session, text: str) -> dict[str, bool]:
    server.emit("said", {"by": session.id, "text": text}, room="lobby", namespace="/chat", skip=session)
    return {"ok": True}


@chat.on("ask-me")
async def ask_me(session: Session) -> dict[str, Any]:
    name = await session.call("your-name", None, timeout=5)
    return {"hello": name}


async def main(port: int) -> None:
    async with trio.open_nursery() as nursery:
        host, port = await nursery.start(server.serve, "127.0.0.1", port)
        print(f"Socket.IO on http://{host}:{port}/socket.io/, namespace /chat", flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
