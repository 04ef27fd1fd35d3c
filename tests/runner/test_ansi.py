"""Terminal sequences are kept out of a text, however it was split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.runner.ansi import AnsiStripper


def strip(*pieces):
    stripper = AnsiStripper()
    return "".join(map(stripper.feed, pieces))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("plain [31m text", "plain [31m text"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[38:2:255:0:0mred\x1b[m", "red"),
        ("\x1b[2K\x1b[1A\x1b[?25lhidden\x1b[?25h", "hidden"),
        ("\x1b]0;title\x07shell", "shell"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0;2;0\x1b\\after", "after"),
        ("\x1b(Bascii\x1b=\x1b>\x1b7\x1b8\x1bM", "ascii"),
        ("\x9b31mred\x9b0m", "red"),
        ("\x9dtitle\x9cx", "x"),
        ("a\x1b\x1b[0mb", "ab"),
        ("cut\x1b[3", "cut"),
        ("broken\x1b[3\nline", "broken\nline"),
        ("never closed \x1b]0;title\nline", "never closed \nline"),
        ("ends\x1b]0;t\x1b[31mred", "endsred"),
        ("\x1b", ""),
        ("tab\tand\r\nline", "tab\tand\r\nline"),
    ],
)
def test_sequences_are_left_out_and_text_is_kept(text, left):
    assert strip(text) == left


PIECES = st.sampled_from(
    ["\x1b", "[", "]", "0;", "31", "m", "\x07", "\\", "\n", "é", "text", "\x9b", "P", "(", "B", "\x9c"]
)


@given(st.lists(PIECES).map("".join), st.lists(st.integers(0, 99)))
def test_every_split_gives_the_same(text, places):
    edges = sorted(place % (len(text) + 1) for place in places)
    pieces = [text[a:b] for a, b in zip([0, *edges], [*edges, len(text)], strict=True)]
    whole = strip(text)
    assert strip(*pieces) == whole
    assert strip(*text) == whole
    assert "\x1b" not in whole


@given(st.text(st.characters(exclude_characters="\x1b\x90\x98\x9b\x9d\x9e\x9f")))
def test_text_without_sequences_stays_as_it_is(text):
    assert strip(text) == text
