"""HTTP for engines: a pool of connections whose replies are read by arrival.

A server that streams sends one HTTP chunk for each token, and a client that takes chunk after chunk writes as many
deltas. Here the reader is told when all that has arrived was parsed and the next read would wait: that is the moment
to hand on what is there, in one piece. It is also where backpressure comes from: nothing is read before.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite, nan
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
import trio
from attrs import field, frozen

from wegent.core.config import Secret
from wegent.core.errors import ConfigError
from wegent.engines.failures import Refusal
from wegent.engines.sse import EventParser, ServerSentEvent

BeforeRead = Callable[[], Awaitable[None]]


@frozen(kw_only=True)
class PoolConfig:
    """Limits of a pool. `proxy`: URL of an HTTP proxy, `http://[user:password@]host:port`."""

    max_connections: int = 1000
    max_idle: int = 100
    idle_s: float = 30.0
    proxy: Secret | None = field(default=None, repr=False)


class ArrivalStream(httpcore.AsyncNetworkStream):
    """A network stream that calls `before_read` each time before it waits for more."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        # An unencrypted reply without a read time-out is read from the socket itself: of a token's way from there to
        # the sink, the layers between cost a quarter.
        plain = inner.get_extra_info("ssl_object") is None
        self._socket: trio.socket.SocketType | None = inner.get_extra_info("socket") if plain else None
        self.before_read: BeforeRead | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is, at least one byte; empty at the end."""
        if self.before_read is not None:
            await self.before_read()
        if self._socket is None or timeout is not None:
            return await self._inner.read(max_bytes, timeout)
        try:
            return await self._socket.recv(max_bytes)
        except (OSError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from error

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


def open_pool(config: PoolConfig) -> httpcore.AsyncConnectionPool:
    """A pool, itself an async context manager; leaving it closes its connections."""
    shared: dict[str, Any] = {
        "ssl_context": httpx.create_ssl_context(),
        "max_connections": config.max_connections,
        "max_keepalive_connections": config.max_idle,
        "keepalive_expiry": config.idle_s,
        "network_backend": _Backend(),
    }
    if config.proxy is None:
        return httpcore.AsyncConnectionPool(**shared)
    proxy = httpx.URL(config.proxy)
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise ConfigError("`proxy` must be the URL of an HTTP proxy, such as http://proxy.example:3128")
    auth = (proxy.username, proxy.password) if proxy.username else None
    return httpcore.AsyncHTTPProxy(str(proxy.copy_with(userinfo=b"")), proxy_auth=auth, **shared)


def endpoint(base_url: str, path: str) -> tuple[str, str]:
    """The URL of `path` below `base_url`, and the host to name in sentences; a query is kept, user info dropped.

    Raises:
        Refusal: it is no http or https URL.
    """
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or not base_url.isprintable():
        raise Refusal("The model's base URL is not an http or https address, such as http://127.0.0.1:8000/v1")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = host.encode("idna").decode() if not host.isascii() else host
    netloc = host if port is None else f"{host}:{port}"
    full = parts.path.rstrip("/")
    full = full if full.endswith(path) else full + path
    return parts._replace(netloc=netloc, path=full, fragment="").geturl(), netloc


class _Once:
    """A request's body. No generator: one that is left suspended by a cancellation would be closed by nobody."""

    def __init__(self, body: bytes) -> None:
        self._left = [body]

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class _Enough(Exception):
    pass


class Reply:
    """A reply whose head has arrived."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status = response.status
        self.headers = httpx.Headers(response.headers)

    @property
    def content_type(self) -> str:
        """The media type, without its parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    async def body(self, limit: int = 65536) -> bytes:
        """The body's beginning: at most `limit` bytes and a read's worth."""
        held = bytearray()

        async def stop_at_limit() -> None:
            if len(held) >= limit:
                raise _Enough

        try:
            async for piece in self._pieces(stop_at_limit):
                held += piece
        except _Enough:
            pass
        return bytes(held[:limit])

    async def events(
        self, parser: EventParser, take: Callable[[ServerSentEvent], None], before_read: BeforeRead
    ) -> None:
        """Give every event to `take`, and await `before_read` whenever all that has arrived was taken.

        What `take` or the parser raise is raised at the next read: an exception out of the loop below would leave
        httpcore's generators suspended, to be closed by nobody.
        """
        failure: Exception | None = None

        async def stop_at_failure() -> None:
            if failure is not None:
                raise failure
            await before_read()

        async for piece in self._pieces(stop_at_failure):
            if failure is None:
                try:
                    for event in parser.feed(piece):
                        take(event)
                except Exception as error:
                    failure = error
        if failure is not None:
            raise failure

    async def _pieces(self, before_read: BeforeRead) -> AsyncIterator[bytes]:
        network: ArrivalStream = self._response.extensions["network_stream"]
        network.before_read = before_read
        try:
            async for piece in self._response.aiter_stream():
                yield piece
        finally:
            network.before_read = None


@asynccontextmanager
async def post(
    pool: httpcore.AsyncConnectionPool,
    url: str,
    *,
    host: str,
    headers: Mapping[str, str],
    body: bytes,
    connect_timeout: float,
) -> AsyncIterator[Reply]:
    """Send a POST; the reply's body is read within, and the connection closed or given back on leaving.

    Raises:
        Refusal: no connection, or one that broke, also while the body is read.
    """
    fields = {
        "accept-encoding": "identity",
        "user-agent": "wegent",
        **headers,
        "content-length": str(len(body)),
    }
    timeouts = {"connect": connect_timeout, "pool": connect_timeout}
    with _mapped(host):
        async with pool.stream(
            "POST", url, headers=list(fields.items()), content=_Once(body), extensions={"timeout": timeouts}
        ) as response:
            yield Reply(response)


@contextmanager
def _mapped(host: str) -> Iterator[None]:
    try:
        yield
    except httpcore.ConnectTimeout as error:
        raise Refusal(f"{host} could not be reached in time.", type="timeout", passing=True) from error
    except httpcore.PoolTimeout as error:
        raise Refusal(f"All connections to models are in use. Try {host} again later.", passing=True) from error
    except httpcore.ConnectError as error:
        raise Refusal(f"{host} could not be reached. Check the base URL, and that it runs.", passing=True) from error
    except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        raise Refusal(f"{host} closed the connection before the answer was whole.", passing=True) from error
    except (httpcore.ProxyError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise Refusal(f"{host} does not speak HTTP as expected. Check the base URL.") from error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, of `retry-after-ms` or of `Retry-After` in either of its forms (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    milliseconds = headers.get("retry-after-ms", "").strip()
    try:
        if milliseconds:
            wait = float(milliseconds) / 1000
        elif value:
            wait = float(value)
        else:
            return None
    except ValueError:
        wait = _until(value)
    return max(0.0, wait) if isfinite(wait) else None


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return nan
    if moment.tzinfo is None:
        return nan
    return (moment - datetime.now(UTC)).total_seconds()
