"""The event-stream parser against the standard's rules, whatever way the bytes are split."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wegent.core.errors import InvalidPayload
from wegent.engines.sse import EventParser, ServerSentEvent, encode_event

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

line_ends = st.sampled_from(["\n", "\r", "\r\n"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)
fields = st.sampled_from(["data", "event", "id", "retry", "other", "", " data", "data "])
lines = st.one_of(
    st.just(""),
    st.builds("{}:{}".format, fields, texts),
    st.builds("{}: {}".format, fields, texts),
    fields,
    texts,
    st.just("retry: 1500"),
)
streams = st.builds(
    lambda bom, pairs: ("\ufeff" if bom else "") + "".join(line + end for line, end in pairs),
    st.booleans(),
    st.lists(st.tuples(lines, line_ends), max_size=30),
)


def parse(data: bytes, cuts: list[int] | None = None, **limits: int) -> list[ServerSentEvent]:
    parser = EventParser(**limits)
    bounds = [0, *sorted(cuts or []), len(data)]
    return [event for a, b in pairwise(bounds) for event in parser.feed(data[a:b])]


def parse_by_the_book(text: str) -> list[ServerSentEvent]:
    """The standard's algorithm in its own words, over the whole text at once."""
    events, data, kind, last_id = [], [], "", ""
    text = text.removeprefix("\ufeff")
    for line in re.split("\r\n|\n|\r", text)[:-1]:
        if line == "":
            if data:
                events.append(ServerSentEvent("\n".join(data).encode(), kind or "message", last_id))
            data, kind = [], ""
            continue
        if line.startswith(":"):
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id":
            last_id = value
    return events


@unhurried
@given(streams, st.data())
def test_any_split_gives_what_the_standard_gives(stream: str, data: st.DataObject) -> None:
    raw = stream.encode()
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=12))
    assert parse(raw, cuts) == parse_by_the_book(stream)


@unhurried
@given(streams)
def test_byte_by_byte_gives_what_one_piece_gives(stream: str) -> None:
    raw = stream.encode()
    assert parse(raw, list(range(len(raw)))) == parse(raw)


@unhurried
@given(st.binary(max_size=300), st.data())
def test_any_bytes_are_taken_alike_however_they_are_split(raw: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=12))
    events = parse(raw, cuts)
    assert events == parse(raw)
    assert all(isinstance(event.text, str) for event in events)


@unhurried
@given(st.lists(st.tuples(st.binary(max_size=50), st.none() | st.just("content.delta")), max_size=8))
def test_what_is_encoded_is_parsed_again(sent: list[tuple[bytes, str | None]]) -> None:
    raw = b"".join(encode_event(data, event) for data, event in sent)
    lf = [re.sub(rb"\r\n|\r", b"\n", data) for data, _ in sent]
    assert [event.data for event in parse(raw)] == lf
    assert [event.event for event in parse(raw)] == [event or "message" for _, event in sent]


def test_a_crlf_split_in_two_is_one_line_end() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r") == []
    assert parser.feed(b"\ndata: b\r\n\r") == [ServerSentEvent(b"a\nb")]
    assert parser.feed(b"\n") == []
    assert not parser.pending


def test_an_event_without_its_empty_line_is_none() -> None:
    parser = EventParser()
    assert parser.feed(b"data: cut") == []
    assert parser.pending
    assert parser.feed(b"\n") == []
    assert parser.pending


def test_a_comment_and_an_event_without_data_say_nothing() -> None:
    assert parse(b": ping\n\nevent: x\n\ndata: y\n\n") == [ServerSentEvent(b"y")]


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    (event,) = parse(b"data: a\xff\xf0\x9f\n\n")
    assert event.text == "a��"


def feed_for_ever(parser: EventParser, piece: bytes) -> None:
    while True:
        parser.feed(piece)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_line_over_its_limit_is_refused_before_it_is_held(step: int) -> None:
    parser = EventParser(max_line=100)
    with pytest.raises(InvalidPayload, match="100 bytes"):
        feed_for_ever(parser, b"x" * step)
    assert len(parser._tail) <= 100 + step


def test_an_event_over_its_limit_is_refused() -> None:
    assert parse(b"data: 0123456\n\n", max_event=8)
    with pytest.raises(InvalidPayload, match="8 bytes"):
        parse(b"data: 0123\ndata: 4567\n\n", max_event=8)


def test_a_whole_line_over_the_limit_is_refused_too() -> None:
    with pytest.raises(InvalidPayload):
        parse(b"data: " + b"x" * 100 + b"\n\n", max_line=50)


def test_retry_is_kept_where_it_is_a_number() -> None:
    parser = EventParser()
    parser.feed(b"retry: 1500\nretry: soon\nretry: 99999999999\n")
    assert parser.retry == 1500
