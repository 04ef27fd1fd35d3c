"""Malformed and strange HTTP against a real server: an answer or a close, and the server lives."""

from __future__ import annotations

import re
import socket

import httpx
import pytest

from tests.e2e.serving import Server

LOGIN = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\n"
ASK = b"GET /health HTTP/1.1\r\nHost: x\r\n"

REFUSED = {
    "no request at all": (b"nonsense\r\n\r\n", {400}),
    "no Host": (b"GET /health HTTP/1.1\r\n\r\n", {400}),
    "bytes in the path": (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "escaped bytes in the path": (b"GET /%ff%fe%00 HTTP/1.1\r\nHost: x\r\n\r\n", {404}),
    "a path that climbs": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", {404}),
    "a star": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "CONNECT": (b"CONNECT h:80 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, 405}),
    "another version": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", {400, 505}),
    "a negative length": (LOGIN + b"Content-Length: -5\r\n\r\n", {400}),
    "an enormous length": (LOGIN + b"Content-Length: 99999999999\r\n\r\n{", {413}),
    "a length of many digits": (LOGIN + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n{", {400, 413}),
    "two ways to end a body": (
        LOGIN + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "a chunk that is none": (LOGIN + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", {400}),
    "a compressed body": (LOGIN + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00", {400}),
    "a head without end": (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000, {400, 431}),
    "many headers": (b"GET /tasks HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", {400, 404, 431}),
    "bytes for a token": (b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n", {400, 401}),
    "bytes in the query": (b"GET /api/v1/tasks?limit=%ff&%00=%00 HTTP/1.1\r\nHost: x\r\n\r\n", {401}),
}
TAKEN = {
    "a strange Host": b"GET /health HTTP/1.1\r\nHost: a b/{}<>\r\nConnection: close\r\n\r\n",
    "bytes for a Host": b"GET /health HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: close\r\n\r\n",
    "an absolute target": b"GET http://h/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "two at once": ASK + b"\r\n" + ASK + b"Connection: close\r\n\r\n",
}


def answered(server: Server, request: bytes) -> tuple[int, bytes]:
    """The first status line's status (0: closed without a word), and all that came until the answer was there."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(10)
        said = b""
        try:
            connection.sendall(request)
            while b"\r\n\r\n" not in said or not said.rstrip().endswith((b"}", b".", b"\r\n\r\n")):
                data = connection.recv(65_536)
                if not data:
                    break
                said += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    status = re.match(rb"HTTP/1\.[01] (\d{3})", said)
    return int(status[1]) if status else 0, said


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_http_is_refused_and_the_server_lives(server: Server, name: str) -> None:
    request, statuses = REFUSED[name]
    status, said = answered(server, request)
    assert status in {0, *statuses}, said[:300]
    assert b"Traceback" not in said
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


@pytest.mark.parametrize("name", TAKEN)
def test_strange_http_is_answered(server: Server, name: str) -> None:
    status, said = answered(server, TAKEN[name])
    assert (status, b'{"status":"ok"}' in said) == (200, True), said[:300]


def test_a_connection_that_is_left_in_the_middle_costs_nothing(server: Server) -> None:
    for part in (b"", b"GET", b"GET / HTTP/1.1\r\n", LOGIN + b"Content-Length: 10\r\n\r\n{"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(part)
    assert httpx.get(f"{server.url}/ready").status_code == 200


def test_metrics_tell_of_the_server(server: Server) -> None:
    text = httpx.get(f"{server.url}/metrics").text
    assert "wegent_tcp_connections" in text
    assert "process_resident_memory_bytes" in text
