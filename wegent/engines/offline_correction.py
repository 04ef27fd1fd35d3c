"""How the offline engine checks an answer: sums, doubled words, code blocks, and what of the question it takes up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation

from attrs import frozen

from wegent.codec import encode
from wegent.engines.offline_steps import Pace, Say, Step, amount
from wegent.protocol.correction import CORRECTOR, CorrectionStage

_CALL = re.compile(r"Stage: (\w+)\n\n<question>\n(.*?)\n</question>\n\n<answer>\n(.*)\n</answer>", re.DOTALL)
_NUMBER = r"\d{1,12}(?:\.\d{1,6})?"
_SIGNS = "\\-+*/\u00d7\u00f7"  # also the signs of multiplication and division
_SUM = re.compile(
    rf"(?<![\w.{_SIGNS}])(?<![{_SIGNS}] )({_NUMBER}) ?([{_SIGNS}]) ?({_NUMBER}) ?= ?(-?\d{{1,20}}(?:\.\d{{1,6}})?)"
    r"(?![\w.]*\d)"
)
_DOUBLED = re.compile(r"\b([^\W\d_]{2,})( +)\1\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{4,}")
_DOES: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "\u00d7": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "\u00f7": lambda a, b: a / b,
}
_MOST = 20
_LONG = 10_000
"""Code points of an answer that is said at once."""
_FENCE = "```"


@frozen
class Finding:
    """Something to put right: a piece of the answer, and what should stand there."""

    issue: str
    suggestion: str
    wrong: str
    right: str


def corrected(system: str | None, text: str) -> Iterator[Step] | None:
    """The steps of a correction's stage; None where this is none."""
    call = _CALL.search(text) if (system or "").startswith(CORRECTOR) else None
    if call is None:
        return None
    return _steps(call[1], call[2], call[3])


def _steps(stage: str, question: str, answer: str) -> Iterator[Step]:
    found = findings(answer)
    if stage == CorrectionStage.VERIFYING_FACTS:
        yield Pace(0)
        yield Say(_judgement(question, answer, found))
    elif stage == CorrectionStage.EVALUATING:
        yield Say(_summary(question, answer, found))
    else:
        if len(answer) > _LONG:
            yield Pace(0)
        yield Say(improved(answer, found))


def findings(answer: str) -> list[Finding]:
    """What is wrong as far as anybody can see without understanding."""
    found = [*_sums(answer), *_doubled(answer)]
    if answer.count(_FENCE) % 2:
        found.append(Finding("A code block is not closed.", f"End it with {_FENCE}.", "", f"\n{_FENCE}"))
    return found[:_MOST]


def improved(answer: str, found: list[Finding]) -> str:
    """The answer with all of it put right."""
    for each in found:
        answer = answer.replace(each.wrong, each.right) if each.wrong else answer + each.right
    return answer


def _sums(answer: str) -> Iterator[Finding]:
    for match in dict.fromkeys(found[0] for found in _SUM.finditer(answer)):
        parts = _SUM.fullmatch(match)
        if parts is None:
            continue
        try:
            true = _DOES[parts[2]](Decimal(parts[1]), Decimal(parts[3]))
        except (InvalidOperation, ZeroDivisionError):
            continue
        places = len(parts[4].partition(".")[2])
        if round(true, places) != Decimal(parts[4]):
            right = f"{true.normalize():f}" if true == true.to_integral_value() else f"{round(true, 6).normalize():f}"
            whole = f"{parts[1]} {parts[2]} {parts[3]} = {right}"
            yield Finding(f"{match} is not right.", f"{whole}.", match, match[: match.rindex(parts[4])] + right)


def _doubled(answer: str) -> Iterator[Finding]:
    for match in dict.fromkeys(found[0] for found in _DOUBLED.finditer(answer)):
        word = match.split(" ")[0]
        yield Finding(f"A word stands twice: “{match}”.", f"Write “{word}” once.", match, word)


def _share(question: str, answer: str) -> float:
    """Which share of the question's longer words the answer takes up."""
    asked = {word.casefold() for word in _WORD.findall(question)}
    taken = {word.casefold() for word in _WORD.findall(answer)}
    return len(asked & taken) / len(asked) if asked else 1.0


def _judgement(question: str, answer: str, found: list[Finding]) -> str:
    sums = sum(each.wrong.count("=") > 0 for each in found)
    scores = {
        "accuracy": max(0.0, 10.0 - 3.0 * sums),
        "logic": max(0.0, 10.0 - 1.0 * (len(found) - sums)),
        "completeness": round(5.0 + 5.0 * _share(question, answer), 1),
    }
    corrections = [{"issue": each.issue, "suggestion": each.suggestion} for each in found]
    return encode({"corrections": corrections, "scores": scores, "is_correct": not found}).decode()


def _summary(question: str, answer: str, found: list[Finding]) -> str:
    taken = f"It takes up {_share(question, answer):.0%} of the longer words of the question."
    head = "I am Wegent's offline engine, and no model: I checked sums, doubled words and code blocks, nothing more."
    if not found:
        return f"{head} I found nothing to put right. {taken}"
    return f"{head} I found {amount(len(found), 'thing')} to put right. {taken}"
