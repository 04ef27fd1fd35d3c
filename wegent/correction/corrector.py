"""Corrections by the engines of the deployment: a judgement, its sum, a better answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.core.text import clean
from wegent.correction.prompts import SYSTEM, ask, judgement_of
from wegent.engines.choice import EngineChoice
from wegent.executors.chat_shell import model_of
from wegent.executors.toolbox import Toolbox
from wegent.protocol.chat_shell import UNNAMED, Features, ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.protocol.correction import CorrectionField, CorrectionResult, CorrectionStage
from wegent.server.ports.corrector import CorrectionVoice, Corrector, ToCorrect
from wegent.server.ports.search import Search
from wegent.server.ports.tool import Asked

MOST_JUDGEMENT = 100_000
MOST_SUMMARY = 5_000
MOST_IMPROVED = 150_000
"""Code points that a model may say at each stage."""
_FIELDS = {
    CorrectionStage.EVALUATING: (CorrectionField.SUMMARY, MOST_SUMMARY),
    CorrectionStage.GENERATING_IMPROVEMENT: (CorrectionField.IMPROVED_ANSWER, MOST_IMPROVED),
}


class EngineCorrector(Corrector):
    """Asks a model three times: what is wrong, what that comes to, and how it would be right."""

    __slots__ = ("_choice", "_model", "_toolbox")

    def __init__(self, choice: EngineChoice, model: Mapping[str, Any], search: Search | None = None) -> None:
        """`model` is asked where nobody names another; as a Model's `modelConfig`. It may verify facts by `search`."""
        self._choice = choice
        self._model = dict(model)
        self._toolbox = Toolbox(search=search)

    def name_of(self, model: Mapping[str, Any]) -> str:
        """The model's id, or the engine's where it has none."""
        config = self._config(model)
        return config.model_id if config.model_id != UNNAMED else config.engine or UNNAMED

    def _config(self, model: Mapping[str, Any]) -> ModelConfig:
        config = model_of(model or self._model)
        self._choice.of(config)
        return config

    async def correct(self, asked: ToCorrect, voice: CorrectionVoice) -> CorrectionResult:
        """See `Corrector.correct`. Of an answer with nothing wrong there is no better one."""
        question, answer = asked.question, asked.answer
        said = await self._say(
            asked, voice, CorrectionStage.VERIFYING_FACTS, ask(CorrectionStage.VERIFYING_FACTS, question, answer)
        )
        found = judgement_of(said)
        summary = await self._say(
            asked, voice, CorrectionStage.EVALUATING, ask(CorrectionStage.EVALUATING, question, answer, found)
        )
        improved = answer
        if not found.is_correct or found.corrections:
            stage = CorrectionStage.GENERATING_IMPROVEMENT
            improved = await self._say(asked, voice, stage, ask(stage, question, answer, found))
        return CorrectionResult(
            scores=found.scores,
            corrections=found.corrections,
            summary=summary,
            improved_answer=improved,
            is_correct=found.is_correct,
        )

    async def _say(self, asked: ToCorrect, voice: CorrectionVoice, stage: CorrectionStage, message: str) -> str:
        voice.stage(stage)
        config = self._config(asked.model)
        field, most = _FIELDS.get(stage, (None, MOST_JUDGEMENT))
        heard = _Heard(voice, stage, field, most)
        request = ResponseRequest(
            model_config=config,
            messages=(ModelMessage(role="user", content=message),),
            system=SYSTEM,
            tools=None,
            features=Features(),
            metadata=ResponseMetadata(
                request_id=f"correction-{asked.subtask_id}-{stage}",
                task_id=asked.task_id,
                subtask_id=asked.subtask_id,
                user_id=asked.user_id,
            ),
        )
        may = Asked(
            user_id=asked.user_id,
            user_name="",
            task_id=asked.task_id,
            subtask_id=asked.subtask_id,
            web_search=stage is CorrectionStage.VERIFYING_FACTS,
        )
        await self._toolbox.answer(self._choice.of(config), request, may, heard)
        if not heard.whole.strip():
            raise RunFailed("the correction model said nothing", type="model")
        return heard.whole


class _Heard(Sink):
    """What a model says at one stage, told on where it belongs to a text of the result."""

    __slots__ = ("_field", "_left", "_said", "_stage", "_voice")

    def __init__(
        self, voice: CorrectionVoice, stage: CorrectionStage, field: CorrectionField | None, most: int
    ) -> None:
        self._voice = voice
        self._stage = stage
        self._field = field
        self._left = most
        self._said: list[str] = []

    @property
    def whole(self) -> str:
        """All of it."""
        return "".join(self._said)

    async def text(self, delta: str) -> None:
        """Keep it, tell it on."""
        await trio.lowlevel.checkpoint()
        delta = clean(delta)
        self._left -= len(delta)
        if self._left < 0:
            raise RunFailed("the correction model said more than a correction may", type="output_limit")
        self._said.append(delta)
        if self._field is not None and delta:
            self._voice.say(self._field, delta)

    async def thinking(self, delta: str) -> None:
        """Nobody hears it."""
        await trio.lowlevel.checkpoint()

    async def block(self, block: Mapping[str, Any]) -> None:
        """A tool that is used is told."""
        await trio.lowlevel.checkpoint()
        name = block.get("tool_name")
        if block.get("status") == "pending" and isinstance(name, str):
            self._voice.stage(self._stage, name)

    async def progress(self, progress: int, message: str | None = None) -> None:
        """The stage says enough."""
        await trio.lowlevel.checkpoint()

    async def app(self, app: Mapping[str, Any]) -> None:
        """Nothing is served."""
        await trio.lowlevel.checkpoint()

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Nobody is asked.

        Raises:
            RunFailed: always.
        """
        raise RunFailed("a correction can't ask the viewers of a task", type="model")
