"""Text from models, runners and devices becomes valid, also where a pair is split between deltas."""

from hypothesis import given
from hypothesis import strategies as st

from wegent.core.text import SurrogateJoiner, clean


def naive(text):
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\x00", "\ufffd")


DIRTY = st.text(st.sampled_from("ab\x00ö€😀\ud83d\ud800\ude00\udfff\ufffd"), max_size=12)


@given(DIRTY)
def test_clean_is_valid_and_keeps_what_was_valid(text):
    cleaned = clean(text)
    assert cleaned == naive(text)
    cleaned.encode()
    assert clean(cleaned) is cleaned


def test_clean_joins_pairs_and_replaces_halves():
    assert clean("a\ud83d\ude00b") == "a😀b"
    assert clean("\ud83d\ud83d\ude00\ude00") == "\ufffd😀\ufffd"
    assert clean("a\x00b") == "a\ufffdb"
    same = "plain ünd 漢字 😀"
    assert clean(same) is same


@given(st.lists(DIRTY, max_size=6))
def test_deltas_through_the_joiner_give_the_text_cleaned_as_a_whole(deltas):
    joiner = SurrogateJoiner()
    said = [joiner.feed(delta) for delta in deltas]
    whole = "".join(said) + joiner.finish()
    assert whole == clean("".join(deltas))
    for part in said:
        part.encode()
    assert joiner.finish() == ""


def test_a_pair_split_between_deltas_is_joined():
    joiner = SurrogateJoiner()
    assert [joiner.feed("a\ud83d"), joiner.feed(""), joiner.feed("\ude00b"), joiner.finish()] == ["a", "", "😀b", ""]
