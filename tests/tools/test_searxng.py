"""Web search against a server that answers as SearXNG does, or wrongly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
import trio

from wegent.server.ports.search import Found
from wegent.server.ports.tool import ToolFailed
from wegent.testing.provider import answer
from wegent.tools.searxng import SearxngConfig, SearxngSearch

RESULTS = [
    {"title": "Trio  docs", "url": "https://trio.example", "content": "A friendly\nlibrary \ud83d", "score": 1},
    {"title": None, "url": "https://b.example"},
    {"title": "no address"},
    "odd",
]


@asynccontextmanager
async def searching(reply: bytes | None, **config: Any) -> AsyncIterator[tuple[SearxngSearch, list[str]]]:
    asked: list[str] = []

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            held = b""
            while not (b"\r\n\r\n" in held and b"safesearch=1" in held):
                held += await stream.receive_some()
            asked.append(held.decode())
            if reply is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(reply)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with SearxngSearch.open(SearxngConfig(**{"url": url, "safesearch": 1} | config)) as search:
            yield search, asked
        nursery.cancel_scope.cancel()


async def test_results_are_read_and_bounded() -> None:
    reply = answer("200 OK", json.dumps({"query": "x", "results": RESULTS}).encode())
    async with searching(reply, token="t0ken", language="en") as (search, asked):
        found = await search.find("trio & co", 5)
        assert await search.find("trio & co", 1) == found[:1]
    assert found == [
        Found("Trio docs", "https://trio.example", "A friendly library \ufffd"),
        Found("", "https://b.example", ""),
    ]
    head, _, body = asked[0].partition("\r\n\r\n")
    assert head.startswith("POST /search HTTP/1.1")
    assert "authorization: bearer t0ken" in head.lower()
    assert parse_qs(body) == {"q": ["trio & co"], "format": ["json"], "language": ["en"], "safesearch": ["1"]}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer("403 Forbidden", b"no"), "allow the format json"),
        (answer("500 Oops", b"no"), "status 500"),
        (answer("200 OK", b"<html>"), "no JSON"),
        (answer("200 OK", b'{"results": 7}'), "no results"),
        (answer("200 OK", b"[]"), "no results"),
        (b"", "closed the connection"),
        (None, "within 0.05 seconds"),
    ],
)
async def test_what_goes_wrong_is_told_to_the_model(reply: bytes | None, words: str) -> None:
    async with searching(reply, timeout_s=0.05 if reply is None else 5.0) as (search, _):
        with pytest.raises(ToolFailed, match=words):
            await search.find("trio", 5)
