"""How the offline engine checks an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wegent.correction.prompts import SYSTEM, ask, judgement_of
from wegent.engines.offline_correction import corrected, findings, improved
from wegent.engines.offline_steps import Say
from wegent.protocol.correction import CorrectionStage


def said(stage: CorrectionStage, question: str, answer: str) -> str:
    steps = corrected(SYSTEM, ask(stage, question, answer))
    assert steps is not None
    return "".join(step.text for step in steps if isinstance(step, Say))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is 6 * 7 = 41.", "It is 6 * 7 = 42."),
        ("6\u00d77=41 and 1 + 1 = 3", "6\u00d77=42 and 1 + 1 = 2"),
        ("10 / 4 = 2.4", "10 / 4 = 2.5"),
        ("3 - 5 = 2", "3 - 5 = -2"),
        ("I went to the the house.", "I went to the house."),
        ("```python\nx = 1\n", "```python\nx = 1\n\n```"),
    ],
)
def test_what_is_wrong_is_found_and_put_right(answer, right):
    found = findings(answer)
    assert found
    assert improved(answer, found) == right
    assert findings(right) == []


@pytest.mark.parametrize(
    "answer",
    ["6 * 7 = 42", "1 + 2 + 3 = 6", "10 / 3 = 3.33", "x = 1", "1 / 0 = 1", "v1 + 2 = 4", "The end.", "```\nx\n```", ""],
)
def test_what_is_right_or_beyond_it_is_left_alone(answer):
    assert findings(answer) == []


def test_a_judgement_counts_what_was_found():
    judgement = judgement_of(said(CorrectionStage.VERIFYING_FACTS, "What is six times seven?", "6 * 7 = 41"))
    assert not judgement.is_correct
    assert (judgement.scores.accuracy, judgement.scores.logic) == (7.0, 10.0)
    assert "6 * 7 = 42" in judgement.corrections[0].suggestion
    judgement = judgement_of(
        said(CorrectionStage.VERIFYING_FACTS, "What is six times seven?", "Six times seven is 42.")
    )
    assert (judgement.is_correct, judgement.corrections, judgement.scores.completeness) == (True, (), 8.3)


def test_a_chat_is_no_correction():
    message = ask(CorrectionStage.EVALUATING, "q", "a")
    assert corrected("You are a helpful assistant.", message) is None
    assert corrected(None, message) is None
    assert corrected(SYSTEM, "hello") is None


@given(st.text(alphabet=st.sampled_from("ab 1+=*/.`\n-"), max_size=200), st.text(max_size=50))
def test_any_answer_can_be_judged(answer, question):
    for stage in CorrectionStage:
        assert isinstance(said(stage, question, answer), str)
