"""What checks an answer, and makes a better one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from wegent.protocol.correction import CorrectionField, CorrectionResult, CorrectionStage


@frozen
class ToCorrect:
    """An answer to be checked. `model` is as a Model's `modelConfig`; empty: the deployment's own choice."""

    task_id: int
    subtask_id: int
    user_id: int
    question: str
    answer: str
    model: Mapping[str, Any]


class CorrectionVoice(ABC):
    """Where a correction says how far it is. Plain steps: nothing here waits."""

    __slots__ = ()

    @abstractmethod
    def stage(self, stage: CorrectionStage, tool_name: str | None = None) -> None:
        """It is at this stage, and uses that tool."""

    @abstractmethod
    def say(self, field: CorrectionField, delta: str) -> None:
        """More of a text."""


class Corrector(ABC):
    """Checks answers. One instance serves many side by side."""

    __slots__ = ()

    @abstractmethod
    def name_of(self, model: Mapping[str, Any]) -> str:
        """What the model is called that would check; raises as `correct`."""

    @abstractmethod
    async def correct(self, asked: ToCorrect, voice: CorrectionVoice) -> CorrectionResult:
        """The whole of it; its texts are those that the voice was told. Cancelled: all work is stopped first.

        Raises:
            RunFailed: no such model, or it refused, broke off, or said something that is no correction.
        """
