"""Stock clients, python-socketio and httpx, that note each thing which they have seen on the wire."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import socketio

from tests.e2e.protocol_list import REST
from tests.e2e.serving import Server
from wegent.codec import convert
from wegent.protocol.events import event

CALLS = {
    call: re.compile(call.split(" ")[0] + " /api/v1" + re.sub(r"\\{\w+\\}", "[^/]+", re.escape(call.split(" ")[1])))
    for call in filter(None, REST.split("\n"))
}


class Recorder(ExitStack):
    """`rows` of the list that were seen: with an answer that is no error, in the form that the protocol gives them.

    It closes its clients.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[str] = set()

    def note(self, row: str) -> None:
        self.rows.add(row)

    def said(self, namespace: str, name: str, ack: Any) -> None:
        """A client's event was acknowledged."""
        if isinstance(ack, dict) and "error" not in ack:
            about = event(namespace, name, from_client=True)
            assert about.ack is not None
            convert(ack, about.ack)
            self.note(f"client {namespace} {name}")

    def heard(self, namespace: str, name: str, payload: Any) -> None:
        """An event of the server's came."""
        convert(payload, event(namespace, name, from_client=False).payload)
        self.note(f"server {namespace} {name}")

    def answered(self, response: httpx.Response) -> None:
        """A call was answered."""
        if response.status_code < 400:
            asked = f"{response.request.method} {response.request.url.path}"
            exact = [call for call in CALLS if asked == call.replace(" ", " /api/v1", 1)]
            found = exact or [call for call, pattern in CALLS.items() if pattern.fullmatch(asked)]
            assert found, f"{asked} is not in the list"
            self.note(f"rest {found[0]}")


class Rest:
    """httpx with somebody's token."""

    def __init__(self, recorder: Recorder, server: Server, token: str = "") -> None:
        self.client = httpx.Client(
            base_url=f"{server.url}/api/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            event_hooks={"response": [recorder.answered]},
            timeout=30,
        )
        recorder.callback(self.client.close)

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The answer's JSON; fails unless it succeeds."""
        given = {"json": body} if body is not None else {}
        answer = self.client.request(method, path, **given, **more)
        assert answer.status_code < 400, (method, path, answer.text)
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.text


class Socket:
    """A python-socketio client. `events` are all that came, oldest first; `answers` what it says to those that ask."""

    def __init__(self, recorder: Recorder, server: Server, token: str, namespace: str = "/chat") -> None:
        self.recorder, self.server, self.token, self.namespace = recorder, server, token, namespace
        self.events: list[tuple[str, Any]] = []
        self.wrong: list[Exception] = []
        self.answers: dict[str, Any] = {"task:execute": {"accepted": True}}
        self._came = threading.Condition()
        self.client = self._connected()
        recorder.callback(self.lose)

    def _connected(self) -> socketio.Client:
        client = socketio.Client(reconnection=False)
        client.on("*", self._take, namespace=self.namespace)
        client.connect(
            self.server.url, namespaces=[self.namespace], auth={"token": self.token}, transports=["websocket"]
        )
        return client

    def _take(self, name: str, payload: Any) -> Any:
        try:
            self.recorder.heard(self.namespace, name, payload)
        except Exception as error:
            self.wrong.append(error)
        with self._came:
            self.events.append((name, payload))
            self._came.notify_all()
        return self.answers.get(name, {"success": True})

    def __call__(self, name: str, data: Any) -> Any:
        """Emit, and return the ack."""
        ack = self.client.call(name, data, namespace=self.namespace, timeout=20)
        self.recorder.said(self.namespace, name, ack)
        return ack

    def wait(self, name: str, matches: Callable[[Any], bool] = lambda _: True, *, within: float = 20) -> Any:
        """The payload of the first such event, at once if it has come."""
        end, seen = time.monotonic() + within, 0
        with self._came:
            while True:
                for each, payload in self.events[seen:]:
                    if each == name and matches(payload):
                        assert not self.wrong, self.wrong
                        return payload
                seen = len(self.events)
                left = end - time.monotonic()
                assert left > 0, f"no {name}; there came {[each for each, _ in self.events]}"
                self._came.wait(left)

    def ended(self, sent: Any, name: str = "chat:done", attempt: int = 1) -> Any:
        """The ending of the answer to what was sent."""
        row = sent["assistant_subtask_id"]
        return self.wait(name, lambda told: told["subtask_id"] == row and told["attempt"] == attempt)

    def text(self, sent: Any, start: int = 0) -> str:
        """What the chunks of an answer make, from an offset on, each behind the one before."""
        text = ""
        for name, told in list(self.events):
            if name == "chat:chunk" and told["subtask_id"] == sent["assistant_subtask_id"] and told["content"]:
                assert told["offset"] == start + len(text), "a gap or a repeat"
                text += told["content"]
        return text

    def lose(self) -> None:
        """The connection ends."""
        self.client.disconnect()

    def come_back(self) -> None:
        """Connect again, with nothing seen."""
        self.events.clear()
        self.client = self._connected()
