"""The REST calls that a chat client needs (protocol §10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from attrs import frozen

from wegent import codec
from wegent.client.errors import Stranger, Unreachable, from_payload
from wegent.client.link import socket_url
from wegent.client.reach import mismatch, why
from wegent.core.errors import NotFound

CONNECT_S = 8.0
"""Seconds for a connection, and for agreeing on TLS."""


@frozen
class Login:
    """What a login gives; `expires_at` as the server wrote it."""

    token: str
    user_name: str
    expires_at: str | None = None


@frozen
class Team:
    """Somebody to talk to."""

    id: int
    name: str
    title: str


def rest_url(server: str) -> str:
    """The address below which the calls of a server are.

    Raises:
        InvalidPayload: this is no address of a server.
    """
    parts = urlsplit(socket_url(server, ""))
    scheme = "https" if parts.scheme == "wss" else "http"
    return urlunsplit((scheme, parts.netloc, f"{parts.path.removesuffix('/ws')}/api/v1/", "", ""))


class Rest:
    """Calls to one server; `token` is sent with each once there is one. Made by `open_rest`."""

    def __init__(self, client: httpx.AsyncClient, token: str | None, timeout: float = 30.0) -> None:
        self._client = client
        self._timeout = timeout
        self._answered = False
        self.token = token

    async def login(self, user_name: str, password: str) -> Login:
        """Log in; the token is used from then on.

        Raises:
            NotAuthenticated: name or password is wrong.
        """
        answer = await self._always_there("POST", "auth/login", {"user_name": user_name, "password": password})
        token, user = answer.get("access_token") or answer.get("token"), answer.get("user")
        if not isinstance(token, str):
            message = "the server's answer to the login has no token"
            raise Unreachable(message)
        self.token = token
        name = user.get("user_name") if isinstance(user, Mapping) else None
        return Login(token, str(name or user_name), answer.get("expires_at"))

    async def me(self) -> Mapping[str, Any]:
        """The user of this token."""
        return await self._always_there("GET", "users/me")

    async def teams(self) -> list[Team]:
        """The teams that this user may talk to."""
        found = (_team(item) for item in _items(await self._always_there("GET", "kinds/team")))
        return [team for team in found if team is not None]

    async def team(self, name: str) -> Team | None:
        """The team of that name: the user's own, else one that is shared with them, else the public one."""
        try:
            return _team(await self.call("GET", f"kinds/team/default/{quote(name, safe='')}"))
        except NotFound:
            return None

    async def tasks(self, *, limit: int = 30, cursor: str | None = None) -> Mapping[str, Any]:
        """A page of the user's tasks, last updated first: `{items, next_cursor?}`."""
        query = f"&cursor={cursor}" if cursor else ""
        return await self.call("GET", f"tasks?limit={limit}{query}")

    async def task(self, task_id: int) -> Mapping[str, Any]:
        """One task."""
        return await self.call("GET", f"tasks/{task_id}")

    async def _always_there(self, method: str, path: str, body: Any = None) -> Mapping[str, Any]:
        """A call that every Wegent server has."""
        try:
            return await self.call(method, path, body)
        except NotFound as error:
            address = str(self._client.base_url).removesuffix("api/v1/")
            message = f"no Wegent server is at {address}; is the address right, and its path?"
            raise Stranger(message) from error

    async def call(
        self, method: str, path: str, body: Any = None, *, timeout: float | None = None
    ) -> Mapping[str, Any]:
        """One call; the JSON object of its answer. `timeout` in seconds, where it is another than usual.

        Raises:
            Unreachable: nobody answers there, or not as a Wegent server (`Stranger`).
            WegentError: the server refused; with `retry_after` in its details, in seconds, where it said so.
        """
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = None
        if body is not None:
            headers["Content-Type"], content = "application/json", codec.encode(body)
        try:
            seconds = self._timeout if timeout is None else timeout
            patience = httpx.Timeout(seconds, connect=min(seconds, CONNECT_S))
            response = await self._client.request(method, path, headers=headers, content=content, timeout=patience)
        except httpx.TimeoutException as error:
            raise await self._unreached("does not answer") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise await self._unreached(f"can't be reached: {why(error)}") from error
        self._answered = True
        return _body(response)

    async def _unreached(self, how: str) -> Unreachable:
        """Who never answered may speak TLS, or not, other than the address says."""
        wrong = None if self._answered else await mismatch(str(self._client.base_url))
        return Stranger(wrong) if wrong else Unreachable(f"{self._client.base_url.netloc.decode()} {how}")


def _body(response: httpx.Response) -> Mapping[str, Any]:
    try:
        data = codec.decode(response.content) if response.content else {}
    except codec.CodecError:
        data = None
    if isinstance(data, Mapping) and response.is_success:
        return data
    if isinstance(data, Mapping) and "error" in data:
        raise from_payload({**_retry_after(response), **data})
    message = f"{response.url} answered {response.status_code}, not as a Wegent server would"
    away = response.status_code >= 500 or response.status_code == 429  # what stands before a server that is away
    raise Unreachable(message, **_retry_after(response)) if away else Stranger(message)


def _retry_after(response: httpx.Response) -> dict[str, float]:
    said = response.headers.get("Retry-After", "")
    return {"retry_after": float(said)} if said.isascii() and said.isdecimal() else {}


def _team(item: Mapping[str, Any]) -> Team | None:
    metadata = item.get("metadata") or {}
    name = str(metadata.get("name") or item.get("id"))
    return Team(item["id"], name, str(metadata.get("displayName") or name)) if isinstance(item.get("id"), int) else None


def _items(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = answer.get("items")
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


@asynccontextmanager
async def open_rest(
    server: str, token: str | None = None, *, timeout: float = 30.0, connections: int = 20
) -> AsyncIterator[Rest]:
    """Calls to a server such as `http://localhost:8000`; `connections` are kept open between calls.

    Raises:
        InvalidPayload: this is no address of a server.
    """
    # A proxy is named by the environment where one is wanted; it is never wanted for this machine's own servers.
    local = urlsplit(rest_url(server)).hostname in ("localhost", "127.0.0.1", "::1")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
    async with httpx.AsyncClient(base_url=rest_url(server), limits=limits, trust_env=not local) as client:
        yield Rest(client, token, timeout)
