"""Text by code points: cleaning, joining, slicing, fitting."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.core.errors import OffsetMismatch, Sealed
from wegent.core.model import Ending, EndingStatus, StreamId, Text, Value
from wegent.core.replica import Replica
from wegent.core.text import SurrogateJoiner, TextBuffer, bounded, clean, fit, weight

ANY = st.text(st.characters(exclude_categories=()) | st.sampled_from('\ud83d\ude00\0"\\\n字👋'))
VALID = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('\0"\\\n字👋'))


@given(st.lists(ANY))
def test_deltas_join_to_what_the_whole_would_be(deltas):
    joiner = SurrogateJoiner()
    parts = [joiner.feed(delta) for delta in deltas] + [joiner.finish()]
    joined = "".join(parts)
    assert joined == clean("".join(deltas))
    assert all(clean(part) == part for part in parts)
    assert "\0" not in joined
    joined.encode()


def test_a_split_pair_becomes_its_character():
    joiner = SurrogateJoiner()
    assert joiner.feed("a\ud83d") == "a"
    assert joiner.feed("\ude00b") == "😀b"
    assert joiner.feed("\ud83d") == ""
    assert joiner.finish() == "\ufffd"


@given(st.lists(VALID.map(lambda text: text * 300), max_size=30), st.data())
def test_a_buffer_slices_as_a_string_does(parts, data):
    buffer, whole = TextBuffer(), ""
    for part in parts:
        buffer.append(part)
        whole += part
        start = data.draw(st.integers(0, len(whole) + 2))
        stop = data.draw(st.none() | st.integers(start, len(whole) + 2))
        assert buffer.slice(start, stop) == whole[start:stop]
    assert len(buffer) == len(whole)
    assert buffer.slice() == whole


@given(VALID.map(lambda text: text * 7), st.integers(1, 400))
def test_what_fits_fits_and_is_not_nothing(text, budget):
    count = fit(text, budget)
    assert count >= min(1, len(text))
    size = len(json.dumps(text[:count], ensure_ascii=False).encode()) - 2
    assert size <= weight(text[:count])
    assert count <= 1 or weight(text[:count]) <= budget


@pytest.mark.parametrize("text", ["a" * 900_000, "字" * 900_000, "\x01" * 900_000, "a" * 250_000 + "\x01" * 250_000])
def test_what_fits_is_most_of_what_could(text):
    count = fit(text, 500_000)
    assert weight(text[:count]) > 250_000


def test_a_strangers_value_becomes_json():
    got = bounded(
        {"a\0": [1, 2**80, float("nan"), b"x", "\ud800", ("y", None, True)], 3: {"z": 1.5}, "long": "x" * 200_000}
    )
    assert got["a\ufffd"] == [1, hex(2**80), None, "b'x'", "\ufffd", ["y", None, True]]
    assert got["3"] == {"z": 1.5}
    assert len(got["long"]) == 100_001
    deep = nested = {}
    for _ in range(100):
        nested["x"] = nested = {}
    json.dumps(bounded(deep))


STREAM = StreamId(1, 2, 1)


def test_a_replica_takes_only_what_continues_it():
    replica = Replica(STREAM)
    replica.apply([Text("content", 0, "abc"), Value("k", 2, "block", {"id": "k"})])
    replica.apply([Text("content", 0, "abc")])
    replica.apply([Text("content", 1, "bcd")])
    replica.apply([Value("k", 1, "block", {"id": "old"})])
    assert replica.text() == "abcd"
    assert replica.values["k"].version == 2
    with pytest.raises(OffsetMismatch) as caught:
        replica.apply([Text("content", 5, "x")])
    assert caught.value.offset == 4
    with pytest.raises(OffsetMismatch):
        replica.apply([Text("content", 2, "XY")])
    assert replica.text() == "abcd"


def test_a_sealed_replica_takes_nothing():
    replica = Replica(STREAM)
    replica.ending = Ending(EndingStatus.COMPLETED)
    with pytest.raises(Sealed):
        replica.apply([Text("content", 0, "x")])


def test_a_snapshot_makes_the_same_replica():
    replica = Replica(STREAM)
    replica.apply([Text("content", 0, "日本"), Text("thinking", 0, "hm"), Value("k", 1, "app", {})])
    again = Replica.of(STREAM, replica.snapshot())
    assert again.snapshot() == replica.snapshot()
    assert replica.snapshot({"content": 1}).texts["content"] == "本"
