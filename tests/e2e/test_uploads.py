"""Large files pass through the server without staying in its memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.serving import Server, until

SIZE = 60_000_000
PIECE = os.urandom(1_000_000)


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def body(size: int) -> Iterator[bytes]:
    yield b'--xx\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    for _ in range(size // len(PIECE)):
        yield PIECE
    yield b"\r\n--xx--\r\n"


def upload(server: Server, token: str, size: int) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "multipart/form-data; boundary=xx"}
    return httpx.post(f"{server.url}/api/v1/attachments", headers=headers, content=body(size), timeout=60)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells of no memory here")
def test_a_file_of_sixty_megabytes_costs_no_such_memory(server: Server) -> None:
    token = server.login()
    upload(server, token, 2_000_000)
    before = peak(server.pid)
    made = upload(server, token, SIZE)
    assert (made.status_code, made.json()["size"]) == (201, SIZE)
    seen = hashlib.sha256()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", f"{server.url}/api/v1/attachments/{made.json()['id']}", headers=headers) as read:
        for piece in read.iter_bytes():
            seen.update(piece)
    assert seen.digest() == hashlib.sha256(PIECE * (SIZE // len(PIECE))).digest()
    assert peak(server.pid) - before < SIZE / 3
    httpx.delete(f"{server.url}/api/v1/attachments/{made.json()['id']}", headers=headers).raise_for_status()


def test_a_file_that_is_too_large_and_says_nothing_of_it_is_refused(server: Server) -> None:
    """Sent in chunks (RFC 9112 §7.1), so that nobody knows how much will come."""
    answer = upload(server, server.login(), 70_000_000)
    assert (answer.status_code, answer.json()["code"]) in {(413, "INVALID_PAYLOAD"), (400, "INVALID_PAYLOAD")}


def test_answers_that_come_before_the_body_is_sent_are_read_and_leave_no_connection(server: Server) -> None:
    folder = Path(f"/proc/{server.pid}/fd")
    before = len(list(folder.iterdir()))
    for path in ("attachments", "tasks", "nowhere"):
        for _ in range(5):
            answer = httpx.post(f"{server.url}/api/v1/{path}", content=body(5_000_000), timeout=20)
            assert answer.status_code in (401, 404)
    until(lambda: len(list(folder.iterdir())) <= before)
