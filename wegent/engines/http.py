"""HTTP for engines: one way to send a request, whose reply is read by arrival.

A server that streams sends one HTTP chunk for each token, and a client that takes chunk after chunk writes as many
deltas. Here all that has arrived is taken, then handed on in one piece. It is also where backpressure comes from:
nothing more is read before that is done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite, nan
from typing import Any
from urllib.parse import quote, urlsplit

import httpcore
import httpx
from attrs import field, frozen

from wegent.core.config import Secret
from wegent.core.load import Load
from wegent.core.reader import Reader
from wegent.engines.beside import beside
from wegent.engines.failures import Refusal
from wegent.engines.handover import Handover
from wegent.engines.http_core import Once, open_core, pieces
from wegent.engines.http_plain import Connection, PlainPool
from wegent.engines.sse import EventParser, ServerSentEvent


@frozen(kw_only=True)
class PoolConfig:
    """Limits of a pool.

    Attributes:
        rest_s: how long, in seconds, what endpoints say may wait to be read in one piece when the server is busy.
        proxy: URL of an HTTP proxy, `http://[user:password@]host:port`.
    """

    max_connections: int = 1000
    max_idle: int = 100
    idle_s: float = 30.0
    rest_s: float = 0.06
    proxy: Secret | None = field(default=None, repr=False)


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


class Reply(ABC):
    """A reply whose head has arrived."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = httpx.Headers(headers)

    @property
    def content_type(self) -> str:
        """The media type, without its parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @abstractmethod
    async def body(self, limit: int = 65536) -> bytes:
        """The body's beginning: at most `limit` bytes."""

    @abstractmethod
    async def events(self, parser: EventParser, take: Callable[[ServerSentEvent], None], handover: Handover) -> None:
        """Give every event to `take`, and hand on whenever all that has arrived was taken.

        Nothing more is read until that is done. What `take`, the parser or the handover raise is raised here.
        """


class _PlainReply(Reply):
    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.response.status_code, list(connection.response.headers))
        self._connection = connection

    async def body(self, limit: int = 65536) -> bytes:
        held = bytearray()
        while len(held) < limit and (piece := await self._connection.read()):
            held += piece
        return bytes(held[:limit])

    async def events(self, parser: EventParser, take: Callable[[ServerSentEvent], None], handover: Handover) -> None:
        def read(data: bytes) -> bool:
            for event in parser.feed(data):
                take(event)
            return handover.now()

        while await self._connection.feed(read):
            await handover.later()


class _Enough(Exception):
    pass


class _CoreReply(Reply):
    __slots__ = ("_response",)

    def __init__(self, response: httpcore.Response) -> None:
        super().__init__(response.status, response.headers)
        self._response = response

    async def body(self, limit: int = 65536) -> bytes:
        held = bytearray()

        async def stop_at_limit() -> None:
            if len(held) >= limit:
                raise _Enough

        with suppress(_Enough):
            async for piece in pieces(self._response, stop_at_limit):
                held += piece
        return bytes(held[:limit])

    async def events(self, parser: EventParser, take: Callable[[ServerSentEvent], None], handover: Handover) -> None:
        failure: Exception | None = None

        async def hand_on() -> None:
            if failure is not None:
                raise failure
            if not handover.now():
                await handover.later()

        async for piece in pieces(self._response, hand_on):
            if failure is None:
                try:
                    for event in parser.feed(piece):
                        take(event)
                except Exception as error:
                    failure = error
        if failure is not None:
            raise failure


class Pool:
    """Connections to endpoints: our own where they speak plain HTTP, httpcore's where it takes TLS or a proxy.

    The limits hold for each of the two.
    """

    __slots__ = ("_core", "_plain")

    def __init__(self, core: httpcore.AsyncConnectionPool, plain: PlainPool | None) -> None:
        self._core = core
        self._plain = plain

    @property
    def connections(self) -> list[object]:
        """Every open connection, in use or idle."""
        return [*self._core.connections, *(self._plain.connections if self._plain is not None else ())]

    @asynccontextmanager
    async def post(
        self, url: str, host: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> AsyncIterator[Reply]:
        """See `post`; raises what httpcore raises."""
        fields = list(headers.items())
        parts = urlsplit(url)
        if self._plain is not None and parts.scheme == "http" and parts.hostname:
            target = quote(parts._replace(scheme="", netloc="").geturl(), safe=_IN_TARGETS)
            origin = (parts.hostname, parts.port or 80)
            async with self._plain.post(origin, target, [("host", host), *fields], body, timeout) as connection:
                yield _PlainReply(connection)
            return
        timeouts = {"timeout": {"connect": timeout, "pool": timeout}}
        async with self._core.stream("POST", url, headers=fields, content=Once(body), extensions=timeouts) as response:
            yield _CoreReply(response)


_IN_TARGETS = "%/:?[]@!$&'()*+,;=~"


@asynccontextmanager
async def open_pool(config: PoolConfig) -> AsyncIterator[Pool]:
    """A pool; leaving it closes its connections.

    Raises:
        ConfigError: the proxy is no address of one.
    """
    limits: dict[str, Any] = {
        "max_connections": config.max_connections,
        "max_idle": config.max_idle,
        "idle_s": config.idle_s,
    }
    async with open_core(**limits, proxy=config.proxy) as core:
        if config.proxy is not None:
            yield Pool(core, None)
            return
        load = Load()
        reader = Reader(load, config.rest_s)
        plain = PlainPool(reader, **limits)
        with load.measured(), closing(plain):
            async with beside(reader.run):
                yield Pool(core, plain)


@asynccontextmanager
async def post(
    pool: Pool, url: str, *, host: str, headers: Mapping[str, str], body: bytes, connect_timeout: float
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
    with _mapped(host):
        async with pool.post(url, host, fields, body, connect_timeout) as reply:
            yield reply


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
