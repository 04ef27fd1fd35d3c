"""Markdown that is cut while it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.cli.markdown_feed import CODE, MOST, TEXT, MarkdownFeed, Piece, clean


def pieces(text: str, step: int = 1) -> list[Piece]:
    feed = MarkdownFeed()
    found: list[Piece] = []
    for at in range(0, len(text), step):
        found += feed.feed(text[at : at + step])
    return found + feed.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n\nc", [Piece(TEXT, "a\nb"), Piece(TEXT, "c")]),
        ("# t\n\n\n\na\n\n", [Piece(TEXT, "# t"), Piece(TEXT, "a")]),
        ("1. a\n\n2. b\n\n   more\n\nc", [Piece(TEXT, "1. a\n\n2. b\n\n   more"), Piece(TEXT, "c")]),
        ("a\n```py x\n1\n\n2\n```\nb", [Piece(TEXT, "a"), Piece(CODE, "1\n\n2", "py"), Piece(TEXT, "b")]),
        ("~~~~\n```\n~~~\n~~~~", [Piece(CODE, "```\n~~~")]),
        ("- a\n  ```\n  x\n  y\n  ```", [Piece(TEXT, "- a"), Piece(CODE, "x\ny")]),
        ("```\nnever closed", [Piece(CODE, "never closed")]),
        ("", []),
        ("\n\n", []),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_blocks_are_cut_where_they_are_complete(text: str, expected: list[Piece], step: int) -> None:
    assert pieces(text, step) == expected


def test_what_is_not_complete_is_shown_as_it_stands() -> None:
    feed = MarkdownFeed()
    assert feed.feed("a\n\n```py\nx = ") == [Piece(TEXT, "a")]
    assert feed.rest == Piece(CODE, "x = ", "py")
    assert feed.feed("1\n```\n") == [Piece(CODE, "x = 1", "py")]
    assert feed.rest is None


def test_a_long_code_block_comes_in_stretches() -> None:
    found = pieces("```py\n" + "x\n" * 100 + "```\nb")
    assert [piece.kind for piece in found] == [CODE, CODE, CODE, TEXT]
    assert [piece.goes_on for piece in found] == [True, True, False, False]
    assert sum(piece.text.count("x") for piece in found) == 100


@pytest.mark.parametrize("text", ["x" * 100_000, "word " * 20_000, "line\n" * 20_000])
def test_text_without_an_end_is_cut_by_size(text: str) -> None:
    feed = MarkdownFeed()
    for at in range(0, len(text), 100):
        feed.feed(text[at : at + 100])
        assert feed.rest is None or len(feed.rest.text) <= MOST + 100


@given(st.text(st.sampled_from("ab \n`~-1.#é🙂")), st.integers(1, 7))
def test_nothing_is_lost_and_how_it_arrives_does_not_matter(text: str, step: int) -> None:
    found = pieces(text, step)
    assert found == pieces(text, 1000)
    kept = "".join(piece.text for piece in found)
    for letter in "abé🙂#":
        assert kept.count(letter) <= text.count(letter)
    if "```" not in text and "~~~" not in text:
        assert "".join(kept.split()) == "".join(text.split())


def test_what_would_steer_a_terminal_is_taken_out() -> None:
    assert clean("a\x1b[31mb\x07\x9b\u202ec\td\ne\r") == "a[31mbc\td\ne"
