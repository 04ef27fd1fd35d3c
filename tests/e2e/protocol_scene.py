"""One server, its first user over REST and on a socket, and what stock clients have seen of it."""

from __future__ import annotations

from typing import Any

from tests.e2e.recorder import Recorder, Rest, Socket
from tests.e2e.serving import PASSWORD, Server

SETTINGS = (
    "offline.tokens_per_s=400",
    "api.register=true",
    "chat.lapses.device=5.5",
    "chat.lapses.host=5.5",
    "kernel.high=20000",
)
LOCAL = "/local-executor"


class Story:
    """A server, its first user on `rest` and on `socket`, and what was seen."""

    def __init__(self, server: Server, seen: Recorder) -> None:
        self.server, self.seen = server, seen
        asked = {"user_name": "admin", "password": PASSWORD}
        self.token = str(Rest(seen, server)("POST", "/auth/login", asked)["access_token"])
        self.rest = Rest(self.seen, server, self.token)
        self.socket = Socket(self.seen, server, self.token)
        self.team = server.team(self.token)

    def send(self, message: str, **more: Any) -> Any:
        return self.socket("chat:send", {"team_id": self.team, "message": message, **more})

    def said(self, message: str, **more: Any) -> Any:
        """Send it, and wait for the whole answer."""
        sent = self.send(message, **more)
        self.socket.ended(sent)
        return sent

    def viewer(self) -> Socket:
        """A further connection."""
        return Socket(self.seen, self.server, self.token)

    def device(self, device_id: str, token: str = "") -> Socket:
        """A device that has registered."""
        made = Socket(self.seen, self.server, token or self.token, LOCAL)
        made("device:register", {"device_id": device_id, "name": device_id.title()})
        return made
