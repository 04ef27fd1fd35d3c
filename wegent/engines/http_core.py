"""httpcore's connections, for what takes TLS or a proxy; replies are read by arrival here too.

A server that streams sends one HTTP chunk for each token, and httpcore gives chunk after chunk. Its network stream
tells when all that has arrived was taken and the next read would wait.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import httpcore
import httpx

from wegent.core.errors import ConfigError

BeforeRead = Callable[[], Awaitable[None]]


class ArrivalStream(httpcore.AsyncNetworkStream):
    """A network stream that calls `before_read` each time before it waits for more."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self.before_read: BeforeRead | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is, at least one byte; empty at the end."""
        if self.before_read is not None:
            await self.before_read()
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close at once."""
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> ArrivalStream:
        """The same stream, encrypted."""
        return ArrivalStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What httpcore and its users ask of a stream."""
        return self._inner.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> ArrivalStream:
        options = socket_options or []
        return ArrivalStream(await self._inner.connect_tcp(host, port, timeout, local_address, options))


def open_core(*, max_connections: int, max_idle: int, idle_s: float, proxy: str | None) -> httpcore.AsyncConnectionPool:
    """A pool, itself an async context manager; leaving it closes its connections.

    Raises:
        ConfigError: `proxy` is no address of one.
    """
    shared: dict[str, Any] = {
        "ssl_context": httpx.create_ssl_context(),
        "max_connections": max_connections,
        "max_keepalive_connections": max_idle,
        "keepalive_expiry": idle_s,
        "network_backend": _Backend(),
    }
    if proxy is None:
        return httpcore.AsyncConnectionPool(**shared)
    url = httpx.URL(proxy)
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("`proxy` must be the URL of an HTTP proxy, such as http://proxy.example:3128")
    auth = (url.username, url.password) if url.username else None
    return httpcore.AsyncHTTPProxy(str(url.copy_with(userinfo=b"")), proxy_auth=auth, **shared)


class Once:
    """A request's body. No generator: one that is left suspended by a cancellation would be closed by nobody."""

    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> Once:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


async def pieces(response: httpcore.Response, before_read: BeforeRead) -> AsyncIterator[bytes]:
    """The body piece after piece; `before_read` is awaited whenever all that has arrived was taken.

    Nothing must be raised while a piece is looked at, but by `before_read`: an exception out of the loop would leave
    httpcore's generators suspended, to be closed by nobody.
    """
    network: ArrivalStream = response.extensions["network_stream"]
    network.before_read = before_read
    try:
        async for piece in response.aiter_stream():
            yield piece
    finally:
        network.before_read = None
