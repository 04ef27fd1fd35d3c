"""Searching some documents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wegent.knowledge.index import PASSAGE, Index, passages_of, terms_of

DOCUMENTS = [
    ("Holidays", "Everybody has thirty days of holiday a year.\n\nWho is ill calls before nine."),
    ("Kitchen", "The dishwasher is emptied by whoever comes first. Milk is in the fridge."),
    ("Straße", "Die Büros liegen in der Großen Straße."),
    ("休暇", "社員は年に三十日の休暇を取ることができます。"),
    ("Номера", "Телефон дежурного: 112-33."),
]


def titles(question: str) -> list[str]:
    return [found.passage.title for found in Index(DOCUMENTS).search(question, 3)]


def test_what_fits_best_comes_first():
    assert titles("How many days of holiday do I have?")[0] == "Holidays"
    assert titles("where is the milk")[0] == "Kitchen"


def test_case_and_script_are_no_obstacle():
    assert titles("GROSSEN STRASSE") == ["Straße"]
    assert titles("休暇は何日?") == ["休暇"]
    assert titles("телефон")[0] == "Номера"


def test_what_shares_no_word_is_not_found():
    assert titles("quantum chromodynamics") == []
    assert titles("") == []
    assert Index([]).search("milk", 3) == []


def test_a_rare_word_counts_more_than_a_frequent_one():
    index = Index([(str(number), "the common word") for number in range(20)] + [("rare", "the zebra")])
    assert index.search("the zebra", 1)[0].passage.title == "rare"


@given(st.text(alphabet=st.sampled_from("ab \n.é漢🌱"), max_size=5_000))
def test_passages_hold_every_word_and_are_not_too_long(text):
    passages = list(passages_of("t", text))
    assert all(0 < len(passage.text) <= PASSAGE for passage in passages)
    whole = "".join(text.split())
    assert "".join("".join(passage.text.split()) for passage in passages) == whole


@given(st.text())
def test_any_text_has_terms_and_can_be_searched(text):
    assert all(terms_of(text))
    for found in Index([("t", text)]).search(text, 2):
        assert found.score > 0
