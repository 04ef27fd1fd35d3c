"""Where a reply's body ends, and what of its bytes is content: against h11's writer, split anywhere."""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.engines.body import MOST_LINE, MOST_TRAILERS, Body, ChunkedBody, OpenBody, SizedBody, body_of

REPLY = b"5;ext=1\r\nhello\r\n1 \r\n!\r\n0\r\nx-trailer: 1\r\n\r\n"
TRAILERS = st.lists(st.tuples(st.sampled_from(["x-a", "x-b"]), st.sampled_from(["", "1", "two words"])), max_size=2)


def written(pieces: list[bytes], trailers: list[tuple[str, str]]) -> bytes:
    """What h11 writes as the body of a chunked reply."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n")
    server.next_event()
    server.next_event()
    server.send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")]))
    sent = [server.send(h11.Data(data=piece)) or b"" for piece in pieces]
    return b"".join([*sent, server.send(h11.EndOfMessage(headers=trailers)) or b""])


def fed(body: Body, data: bytes, cuts: list[int]) -> bytes:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return b"".join(body.feed(data[start:stop]) for start, stop in pairwise(bounds) if start < stop)


@given(st.lists(st.binary(max_size=40), max_size=6), TRAILERS, st.lists(st.integers(0, 1000), max_size=12))
def test_what_h11_writes_in_chunks_is_read_however_it_is_split(
    pieces: list[bytes], trailers: list[tuple[str, str]], cuts: list[int]
) -> None:
    body = ChunkedBody()
    assert fed(body, written(pieces, trailers), cuts) == b"".join(pieces)
    assert (body.done, body.broken, body.extra) == (True, "", False)


def test_every_split_in_three_is_the_same() -> None:
    for first in range(len(REPLY) + 1):
        for second in range(first, len(REPLY) + 1):
            body = ChunkedBody()
            assert fed(body, REPLY, [first, second]) == b"hello!"
            assert body.done


@given(st.binary(max_size=50), st.lists(st.integers(0, 1000), max_size=6))
def test_a_body_of_a_told_length_ends_there(content: bytes, cuts: list[int]) -> None:
    body = SizedBody(len(content))
    assert fed(body, content, cuts) == content
    assert (body.done, body.broken, body.extra) == (True, "", False)


@given(st.sampled_from([REPLY, b"0\r\n\r\n"]), st.binary(min_size=1, max_size=20))
def test_what_follows_the_end_is_told_and_no_content(reply: bytes, junk: bytes) -> None:
    chunked, sized = ChunkedBody(), SizedBody(len(reply))
    assert chunked.feed(reply + junk) == (b"hello!" if reply is REPLY else b"")
    assert sized.feed(reply + junk) == reply
    assert chunked.done
    assert chunked.extra
    assert sized.done
    assert sized.extra


@pytest.mark.parametrize("cut", range(len(REPLY)))
def test_an_end_of_the_connection_before_the_bodys_breaks_it(cut: int) -> None:
    body = ChunkedBody()
    body.feed(REPLY[:cut])
    body.end()
    assert body.broken


def test_a_body_without_framing_ends_with_its_connection() -> None:
    body = OpenBody()
    assert body.feed(b"all of it") == b"all of it"
    assert not body.done
    body.end()
    assert (body.done, body.broken) == (True, "")


@pytest.mark.parametrize(
    "broken",
    [
        b"zz\r\n",
        b"\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"1_0\r\n",
        b"5\nhello\n",
        b"5\r\nhello, world\r\n",
        b"5;" + b"x" * MOST_LINE,
        b"1" * 16 + b"\r\n",
        b"0\r\nx: " + b"y" * MOST_TRAILERS,
        b"0\r\n" + b"x: y\r\n" * MOST_TRAILERS,
    ],
)
def test_what_is_no_chunk_breaks_the_body_behind_what_was_one(broken: bytes) -> None:
    body = ChunkedBody()
    assert body.feed(b"1\r\n!\r\n" + broken) == b"!"
    assert body.done
    assert body.broken


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"5\r\nhello\r\n", b"0\r\n", b"\r\n", b"a;"]), max_size=8))
def test_any_bytes_are_content_or_break_the_body(pieces: list[bytes]) -> None:
    body = ChunkedBody()
    for piece in pieces:
        if not body.done:
            assert len(body.feed(piece)) <= sum(map(len, pieces))
    body.end()
    assert body.done


def test_the_head_tells_how_the_body_ends() -> None:
    assert isinstance(body_of(200, {b"transfer-encoding": b"chunked", b"content-length": b"5"}), ChunkedBody)
    assert isinstance(body_of(200, {b"content-length": b"5"}), SizedBody)
    assert isinstance(body_of(200, {}), OpenBody)
    assert body_of(200, {b"content-length": b"0"}).done
    assert body_of(204, {b"content-length": b"5"}).done
    assert body_of(304, {}).done
