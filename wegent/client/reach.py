"""Why a server can't be reached, in words: what the system says, or that one side speaks TLS and the other does not."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import trio

PROBE_S = 3.0
TLS = ("https", "wss")


def why(error: BaseException) -> str:
    """The reason of a failed connection; never empty, and without numbers of errors."""
    found = list(_causes(error))
    for cause in reversed(found):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"TLS failed ({cause.reason.replace('_', ' ').lower()})"
        if isinstance(cause, OSError) and cause.errno and cause.strerror:  # Trio's own has the addresses in it
            return cause.strerror if isinstance(cause, socket.gaierror) else os.strerror(cause.errno)
    said = next((text for cause in found if (text := str(cause)) and not text.startswith("[")), "")
    return said or "the connection was closed"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from, the first cause last."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        else:
            found = found.__cause__ or found.__context__


async def mismatch(url: str) -> str | None:
    """What to write, if the server at an address that did not work speaks TLS where the address does not, or not."""
    parts = urlsplit(url)
    secure = parts.scheme in TLS
    where = parts.netloc.rpartition("@")[2]
    try:
        with trio.move_on_after(PROBE_S):
            stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or (443 if secure else 80))
            async with stream:
                if secure and await _speaks_plainly(stream):
                    return f"{where} speaks no TLS; write http:// in place of https://"
                if not secure and await _speaks_tls(stream, parts.hostname or ""):
                    return f"{where} speaks TLS; write https:// in place of http://"
    except (OSError, trio.BrokenResourceError):
        pass
    return None


async def _speaks_plainly(stream: trio.SocketStream) -> bool:
    await stream.send_all(b"HEAD / HTTP/1.0\r\n\r\n")
    answer = b""
    while len(answer) < 12 and (data := await stream.receive_some(12)):
        answer += data
    # Some that speak TLS say 400 to who does not.
    return answer.startswith(b"HTTP/") and not answer.endswith(b" 400")


async def _speaks_tls(stream: trio.SocketStream, host: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False  # nothing is said to it
    context.verify_mode = ssl.CERT_NONE
    await trio.SSLStream(stream, context, server_hostname=host).do_handshake()
    return True
