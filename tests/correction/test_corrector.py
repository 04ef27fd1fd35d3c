"""What a model is asked, and may use, to check an answer."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.correction.corrector import EngineCorrector
from wegent.engines.choice import EngineChoice
from wegent.protocol.chat_shell import ResponseRequest, ToolCall
from wegent.protocol.correction import CorrectionField, CorrectionStage
from wegent.server.ports.corrector import CorrectionVoice, ToCorrect
from wegent.server.ports.engine import Completion, Engine
from wegent.server.ports.search import Found, Search

ASKED = ToCorrect(1, 2, 3, "How high is it?", "It is 300 m high.", {})
WRONG = '{"corrections": [{"issue": "a", "suggestion": "b"}], "scores": {}, "is_correct": false}'


class Scripted(Engine):
    """Says one thing after the other; what is a ToolCall is one."""

    def __init__(self, *says: str | ToolCall) -> None:
        self.says = list(says)
        self.requests: list[ResponseRequest] = []

    async def run(self, request: ResponseRequest, sink: Any) -> Completion:
        self.requests.append(request)
        said = self.says.pop(0)
        if isinstance(said, ToolCall):
            return Completion("m", tool_calls=(said,))
        await sink.text(said)
        return Completion("m")


class Heard(CorrectionVoice):
    def __init__(self) -> None:
        self.stages: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}

    def stage(self, stage: CorrectionStage, tool_name: str | None = None) -> None:
        self.stages.append((stage.value, tool_name))

    def say(self, field: CorrectionField, delta: str) -> None:
        self.texts[field.value] = self.texts.get(field.value, "") + delta


class Mountains(Search):
    async def find(self, query: str, limit: int) -> list[Found]:
        await trio.lowlevel.checkpoint()
        return [Found("Heights", "https://example.org", f"{query}: 330 m")]


def corrector(engine: Engine, search: Search | None = None) -> EngineCorrector:
    return EngineCorrector(EngineChoice({"e": engine}, "e"), {"engine": "e"}, search)


async def test_facts_may_be_searched_for_and_nothing_else_uses_tools():
    call = ToolCall(id="1", name="web_search", arguments='{"query": "height"}')
    engine, heard = Scripted(call, WRONG, "not good", "It is 330 m high."), Heard()
    result = await corrector(engine, Mountains()).correct(ASKED, heard)
    assert heard.stages == [
        ("verifying_facts", None),
        ("verifying_facts", "web_search"),
        ("evaluating", None),
        ("generating_improvement", None),
    ]
    assert heard.texts == {"summary": "not good", "improved_answer": "It is 330 m high."}
    assert "330 m" in str(engine.requests[1].messages[-1].content)
    assert [bool(request.tools) for request in engine.requests] == [True, True, False, False]
    assert (result.summary, result.improved_answer) == ("not good", "It is 330 m high.")


async def test_without_a_search_no_tools_are_told_of():
    engine = Scripted(WRONG, "s", "i")
    await corrector(engine).correct(ASKED, Heard())
    assert [request.tools for request in engine.requests] == [None, None, None]


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (["no idea"], "form that it was asked for"),
        (["x" * 100_001], "more than a correction may"),
        ([WRONG, " "], "said nothing"),
        ([WRONG, "x" * 5_001], "more than a correction may"),
    ],
)
async def test_what_is_no_correction_is_refused(says, why):
    with pytest.raises(RunFailed, match=why):
        await corrector(Scripted(*says)).correct(ASKED, Heard())
