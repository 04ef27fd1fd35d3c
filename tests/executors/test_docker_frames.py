"""Docker's frames: each piece comes to its stream, however the bytes were split on their way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.executors.docker.frames import FrameError, FrameReader

FRAMES = st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.binary(max_size=300)), max_size=20)


def framed(frames):
    return b"".join(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in frames)


def by_stream(pieces):
    found = {1: b"", 2: b"", 3: b""}
    for stream, piece in pieces:
        found[stream] += piece
    return found


@given(FRAMES, st.lists(st.integers(0, 200)))
def test_every_piece_comes_to_its_stream_whole_and_in_order(frames, sizes):
    data, reader, pieces = framed(frames), FrameReader(), []
    for size in sizes:
        pieces += reader.feed(data[:size])
        data = data[size:]
    pieces += reader.feed(data)
    assert by_stream(pieces) == by_stream(frames)
    assert all(piece for _, piece in pieces)


@given(FRAMES, st.integers(0, 6000))
def test_what_has_come_is_given_at_once(frames, size):
    data = framed(frames)[:size]
    given_ = sum(len(piece) for _, piece in FrameReader().feed(data))
    heads, at = 0, 0
    for _, body in frames:
        heads += min(8, max(0, len(data) - at))
        at += 8 + len(body)
    assert given_ == len(data) - heads


@given(st.binary(min_size=8, max_size=8).filter(lambda head: head[0] > 3 or any(head[1:4])), FRAMES)
def test_what_is_no_head_is_refused_after_what_came_before(head, frames):
    reader = FrameReader()
    assert by_stream(reader.feed(framed(frames))) == by_stream(frames)
    with pytest.raises(FrameError):
        list(reader.feed(head))
