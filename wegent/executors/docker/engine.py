"""What is asked of a Docker engine, over its Unix socket. What it can't do is an error that says what to do."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import h11
import trio

from wegent.codec import CodecError, decode_loose, encode
from wegent.core.errors import RunFailed
from wegent.core.text import clean
from wegent.executors.docker.attach import Output
from wegent.executors.docker.http import Answer, ask

log = logging.getLogger(__name__)
_LOOK_S = 0.1
_MOST_SAID = 500
"""Characters of what the engine says that stand in an error."""


class Engine:
    """Calls of the Docker Engine API. Each takes `patience` seconds at most, and a connection of its own, so that an
    engine that was started again is no different from one that went on.

    Raises of all: RunFailed, of type `engine_away` where there is no engine that answers.
    """

    def __init__(self, socket: Path, *, patience: float = 10.0) -> None:
        self.socket = socket
        self._patience = patience

    async def ping(self) -> None:
        """Return if there is an engine that answers."""
        _expect(await self._ask("GET", "/_ping"), "answer")

    async def lost(self) -> NoReturn:
        """Wait until there is no engine that answers, and raise that."""
        while True:
            await self.ping()
            await trio.sleep(_LOOK_S)

    async def create(self, name: str, image: str, settings: Mapping[str, Any]) -> str:
        """Make a container that does not run yet; its id. Cancellation waits for the answer.

        Raises:
            RunFailed: type `image` if the engine has none of that name.
        """
        answer = await self._ask("POST", "/containers/create", {"name": name}, {"Image": image, **settings}, whole=True)
        if answer.status == HTTPStatus.NOT_FOUND:
            message = (
                f"The Docker engine has no image {image!r}. Images are not fetched by themselves: "
                f"`docker pull {image}` brings it, or `docker build` makes it."
            )
            raise RunFailed(message, type="image")
        return str(_expect(answer, "make the container", "runner_exit")["Id"])

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """All about a container, by name or id; None if there is none."""
        answer = await self._ask("GET", f"/containers/{container}/json")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        return dict(_expect(answer, "tell of the container"))

    async def labelled(self, label: str) -> tuple[datetime, list[dict[str, Any]]]:
        """The containers with a label (`NAME=value`), whether they run or not; and what time it is for the engine."""
        filters = encode({"label": [label]}).decode()
        answer = await self._ask("GET", "/containers/json", {"all": "1", "filters": filters})
        found = list(_expect(answer, "tell of its containers"))
        return parsedate_to_datetime(answer.headers[b"date"].decode()), found

    async def usage(self, container: str) -> tuple[float, int]:
        """Seconds of CPU time since it was started, and bytes of memory now; zeros where the engine can't tell."""
        answer = await self._ask("GET", f"/containers/{container}/stats", {"stream": "0", "one-shot": "1"})
        told = _expect(answer, "tell what the container uses")
        return told["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, told["memory_stats"].get("usage", 0)

    async def start(self, container: str) -> None:
        """Start it; attach before. Cancellation waits for the answer, so that nothing runs that nobody knows of."""
        answer = await self._ask("POST", f"/containers/{container}/start", whole=True)
        _expect(answer, "start the runner", "runner_exit")

    async def wait(self, container: str) -> None:
        """Return when it does not run, or is there no more; however long that takes."""
        answer = await self._ask("POST", f"/containers/{container}/wait", {"condition": "not-running"}, patient=True)
        if answer.status != HTTPStatus.NOT_FOUND:
            _expect(answer, "wait for the container")

    async def kill(self, container: str, signal: str) -> None:
        """Send a signal to its first process; to one that does not run it is nothing."""
        answer = await self._ask("POST", f"/containers/{container}/kill", {"signal": signal})
        if answer.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            _expect(answer, "stop the container")

    async def remove(self, container: str) -> None:
        """Kill it if need be, and remove it with all that it wrote; one that is gone, or going, is none to remove."""
        answer = await self._ask("DELETE", f"/containers/{container}", {"force": "1", "v": "1"})
        if answer.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            _expect(answer, "remove the container")

    @asynccontextmanager
    async def attached(
        self, container: str, on_error: Callable[[bytes], object]
    ) -> AsyncIterator[tuple[trio.abc.SendStream, Output]]:
        """Standard input and output of a container that does not run yet; see `Output`."""
        with self._reaching(self._patience):
            stream = await trio.open_unix_socket(self.socket)
        async with stream:
            target = f"/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1"
            with self._reaching(self._patience):
                answer = await ask(stream, "POST", target, take_over=True)
            if not answer.handed_over:
                raise _refusal("attach to the container", answer.body)
            yield stream, Output(stream, answer.body, on_error)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        patient: bool = False,
        whole: bool = False,
    ) -> Answer:
        target = f"{path}?{urlencode(query)}" if query else path
        with self._reaching(math.inf if patient else self._patience, shield=whole):
            async with await trio.open_unix_socket(self.socket) as stream:
                return await ask(stream, method, target, None if body is None else encode(body))

    @contextmanager
    def _reaching(self, patience: float, *, shield: bool = False) -> Iterator[None]:
        """What goes wrong on the way, or takes too long, becomes one error, which says what to do."""
        try:
            with trio.fail_after(patience) as scope:
                scope.shield = shield
                yield
        except (OSError, h11.RemoteProtocolError, trio.BrokenResourceError) as error:
            log.info("no Docker engine at %s: %r", self.socket, error)
            raise RunFailed(_away(self.socket, _number(error)), type="engine_away") from error
        except trio.TooSlowError as error:
            raise RunFailed(_away(self.socket, errno.ETIMEDOUT), type="engine_away") from error


def _expect(answer: Answer, doing: str, kind: str = "internal") -> Any:
    """What a good answer holds."""
    if not answer.good:
        raise _refusal(doing, answer.body, kind)
    try:
        return decode_loose(answer.body) if answer.body.startswith((b"{", b"[")) else None
    except CodecError as error:
        raise RunFailed(f"The Docker engine can't {doing}: its answer is no JSON.", type="engine_away") from error


def _refusal(doing: str, body: bytes, kind: str = "internal") -> RunFailed:
    try:
        told = decode_loose(body)
        said = clean(str(told["message"]))
    except (CodecError, LookupError, TypeError):
        said = "it gave no reason"
    log.warning("Docker can't %s: %s", doing, said)
    return RunFailed(f"The Docker engine can't {doing}: {said.strip()[:_MOST_SAID].rstrip('.')}.", type=kind)


def _away(socket: Path, number: int | None) -> str:
    if number == errno.EACCES:
        return f"The server's user may not use the Docker engine at {socket}: add it to the group that may."
    if number in (errno.ENOENT, errno.ECONNREFUSED):
        return f"No Docker engine listens at {socket}: start it, or set `docker.socket` to where it listens."
    if number == errno.ETIMEDOUT:
        return f"The Docker engine at {socket} does not answer: see to it, and try again."
    return f"The Docker engine at {socket} stopped while it was needed: start it if it is not back, and try again."


def _number(error: BaseException | None) -> int | None:
    """What the system said at the bottom of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
