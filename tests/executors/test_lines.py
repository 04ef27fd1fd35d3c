"""Lines are the same however their bytes were split on the way."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wegent.executors.lines import LineReader, LineTooLong

LIMIT = 12


def read(pieces):
    """Every line, then "too long" if that came up, then the rest."""
    reader, lines = LineReader(LIMIT), []
    try:
        for piece in pieces:
            lines.extend(reader.feed(piece))
    except LineTooLong:
        return [*lines, "too long"]
    return [*lines, ("rest", reader.finish())]


def split(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\xff", b"{}", b"a" * 11])).map(b"".join),
    st.lists(st.integers(0, 99)),
)
def test_every_split_gives_the_same_lines(data, places):
    whole = read([data])
    assert read(split(data, places)) == whole
    assert read([data[i : i + 1] for i in range(len(data))]) == whole


def test_lines_end_with_lf_or_cr_lf_and_the_last_with_the_stream():
    assert read([b"one\r\ntwo\n\nthr", b"ee"]) == [b"one", b"two", b"", ("rest", b"three")]


def test_a_line_may_be_as_long_as_the_limit_and_no_longer():
    assert read([b"x" * 12 + b"\n"]) == [b"x" * 12, ("rest", b"")]
    assert read([b"a\n" + b"x" * 13 + b"\nb\n"]) == [b"a", "too long"]
    assert read([b"a\n", b"x" * 6, b"y" * 7]) == [b"a", "too long"]
