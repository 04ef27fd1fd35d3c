"""Why a server can't be reached is said in words; also that one side speaks TLS and the other does not."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from wegent.client.errors import Stranger, Unreachable
from wegent.client.reach import why
from wegent.client.rest import open_rest
from wegent.client.session import Backoff, Session, open_session


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that says 404 to everything, in plain or over TLS; its host and port."""

    async def answer(stream: trio.SocketStream) -> None:
        found: trio.abc.Stream = stream if context is None else trio.SSLStream(stream, context, server_side=True)
        try:
            await found.receive_some(4096)
            await found.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await found.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        yield f"localhost:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def both(url: str, kind: type[Unreachable]) -> list[str]:
    """What calls and connections say of an address."""
    with pytest.raises(kind) as of_call:
        async with open_rest(url, "t") as rest:
            await rest.teams()
    with pytest.raises(kind) as of_connection:
        async with open_session(url, "t"):
            pass
    return [of_call.value.sentence, of_connection.value.sentence]


async def test_tls_to_who_speaks_none_is_told() -> None:
    async with listening() as where:
        told = f"{where} speaks no TLS; write http:// in place of https://"
        assert await both(f"https://{where}", Stranger) == [told, told]


async def test_none_to_who_speaks_tls_is_told(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    made = await trio.run_process(
        [*command.split(), "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], stderr=subprocess.DEVNULL
    )
    assert made.returncode == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with listening(context) as where:
        told = f"{where} speaks TLS; write https:// in place of http://"
        assert await both(f"http://{where}", Stranger) == [told, told]
        for said in await both(f"https://{where}", Unreachable):
            assert said.startswith(f"{where} can't be reached: its certificate is not to be trusted (self")


async def test_nobody_there_is_told_as_the_system_says_it() -> None:
    told = "127.0.0.1:9 can't be reached: Connection refused"
    assert await both("http://127.0.0.1:9", Unreachable) == [told, told]


async def test_a_server_that_was_reached_once_is_not_taken_for_a_wrong_address() -> None:
    async with listening() as where:
        session = Session(f"https://{where}", "t", backoff=Backoff(first=0.01, most=0.01, patience=1))
        session.sid = "of an earlier connection"
        with pytest.raises(Unreachable, match="can't be reached") as caught:
            await session.run(None, 0)
    assert not isinstance(caught.value, Stranger)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (trio.BrokenResourceError(), "the connection was closed"),
        (OSError(113, "[Errno 113] no"), os.strerror(113)),
        (ExceptionGroup("all failed", [ConnectionRefusedError(111, "x")]), "Connection refused"),
        (OSError("[Errno 5]"), "the connection was closed"),
        (ValueError("not so"), "not so"),
    ],
)
def test_a_reason_is_words(error: Exception, words: str) -> None:
    assert why(error) == words
