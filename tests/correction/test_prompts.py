"""What a model's judgement is read as."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.core.errors import RunFailed
from wegent.correction.prompts import judgement_of
from wegent.protocol.correction import Correction, Scores

GOOD = {
    "corrections": [{"issue": "a", "suggestion": "b"}],
    "scores": {"accuracy": 3, "logic": 7.5, "completeness": 10},
    "is_correct": False,
}


@pytest.mark.parametrize("around", ["{}", "Here it is:\n```json\n{}\n```\nThat is all.", "\n {} "])
def test_a_judgement_is_found_among_other_words(around):
    found = judgement_of(around.replace("{}", json.dumps(GOOD)))
    assert found.corrections == (Correction(issue="a", suggestion="b"),)
    assert found.scores == Scores(accuracy=3.0, logic=7.5, completeness=10.0)
    assert not found.is_correct


@pytest.mark.parametrize("said", ["", "all good", "[1]", "{", "}{", '{"a": }', '{"a": 1} and {"b": 2}'])
def test_what_is_no_judgement_is_refused(said):
    with pytest.raises(RunFailed):
        judgement_of(said)


def test_what_is_missing_or_strange_has_a_default():
    found = judgement_of('{"scores": {"accuracy": 99, "logic": -1, "completeness": "ten"}, "corrections": [1, {}]}')
    assert found.scores == Scores(accuracy=10.0, logic=0.0, completeness=0.0)
    assert (found.corrections, found.is_correct) == ((), True)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={"corrections": JSON, "scores": JSON, "is_correct": JSON}))
def test_any_object_is_a_judgement_within_its_limits(value):
    found = judgement_of(json.dumps(value))
    assert len(found.corrections) <= 20
    assert all(0 <= mark <= 10 for mark in (found.scores.accuracy, found.scores.logic, found.scores.completeness))
