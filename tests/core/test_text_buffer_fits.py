"""Pieces of a growing text that fit a frame."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from wegent.core.text import TextBuffer, weight

VALID = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('\0"\\\n字👋'))


@given(st.lists(VALID.map(lambda text: text * 900), max_size=12), st.integers(1, 200_000), st.data())
def test_pieces_that_fit_make_the_text_and_fill_their_budget(
    parts: list[str], budget: int, data: st.DataObject
) -> None:
    buffer, whole = TextBuffer(parts[0] if parts else ""), "".join(parts)
    for part in parts[1:]:
        buffer.append(part)
    start = data.draw(st.integers(0, len(whole)))
    for _ in range(20):
        stop, taken = buffer.fit(start, budget)
        piece = buffer.slice(start, stop)
        assert piece == whole[start:stop]
        assert taken == weight(piece) >= len(json.dumps(piece, ensure_ascii=False).encode()) - 2
        assert (stop > start) == (start < len(whole))
        assert taken <= budget or stop == start + 1
        assert stop == len(whole) or taken * 2 >= budget or weight(whole[start : stop + 1]) > budget or budget < 100
        start = stop


def test_past_the_end_nothing_is_left() -> None:
    buffer = TextBuffer("x" * 100_000)
    assert buffer.fit(100_000, 10) == (100_000, 0)
    assert buffer.fit(99_999, 10) == (100_000, 1)
    assert buffer.fit(200_000, 10) == (200_000, 0)
