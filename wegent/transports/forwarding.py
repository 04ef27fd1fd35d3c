"""One HTTP request passed on to the worker that can answer it, or to its host."""

from __future__ import annotations

from typing import Any

import h11
import trio

from wegent.transports.otherhosts import FORWARDED, Connect

READ = 65_536
PATIENCE = 5.0
"""Seconds for a connection to another host."""
_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te", b"trailer"})
"""What belongs to one connection alone (RFC 9110 §7.6.1)."""


class Unreachable(Exception):
    """The other worker does not answer; nothing was sent to the client."""


async def forward(connect: Connect, scope: Any, body: bytes, receive: Any, send: Any) -> None:
    """Ask whoever `connect` reaches what this request asks, and answer so. Ends early where the client has gone.

    Raises:
        Unreachable: it is not there, or ended before its answer began.
    """
    try:
        with trio.fail_after(PATIENCE):
            stream = await connect()
    except (OSError, trio.TooSlowError) as error:
        raise Unreachable from error
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(_until_disconnect, receive, nursery.cancel_scope)
        await _exchange(stream, scope, body, send)
        nursery.cancel_scope.cancel()


async def _exchange(stream: trio.SocketStream, scope: Any, body: bytes, send: Any) -> None:
    talk = h11.Connection(h11.CLIENT)
    started = False
    try:
        asked = (_request(scope, body), h11.Data(data=body), h11.EndOfMessage())
        await stream.send_all(b"".join(talk.send(part) or b"" for part in asked))
        while True:
            event = talk.next_event()
            if event is h11.NEED_DATA:
                talk.receive_data(bytes(await stream.receive_some(READ)))
            elif isinstance(event, h11.Response):
                started = True
                headers = [
                    (name, value) for name, value in event.headers if name not in _HOP or name == b"content-length"
                ]
                await send({"type": "http.response.start", "status": event.status_code, "headers": headers})
            elif isinstance(event, h11.Data):
                await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
    except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        if not started:
            raise Unreachable from error
    if not started:
        raise Unreachable
    await send({"type": "http.response.body", "body": b""})


def _request(scope: Any, body: bytes) -> h11.Request:
    query = scope["query_string"]
    target = scope["raw_path"] if scope.get("raw_path") else scope["path"].encode()
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in (*_HOP, b"content-length")]
    headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close"), (FORWARDED, b"1")]
    return h11.Request(method=scope["method"], target=target + (b"?" + query if query else b""), headers=headers)


async def _until_disconnect(receive: Any, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
