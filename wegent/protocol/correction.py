"""Checking an answer and improving it (protocol section 4)."""

from datetime import datetime
from enum import StrEnum
from typing import Final

from attrs import field, frozen

from wegent.protocol.fields import ID, NAME

CORRECTOR: Final = "You check answers that others gave."
"""What the system prompt of a correction begins with, so that an engine can tell one from a chat."""


class CorrectionStage(StrEnum):
    """What a correction is at."""

    VERIFYING_FACTS = "verifying_facts"
    EVALUATING = "evaluating"
    GENERATING_IMPROVEMENT = "generating_improvement"


class CorrectionField(StrEnum):
    """Which text a delta belongs to."""

    SUMMARY = "summary"
    IMPROVED_ANSWER = "improved_answer"


class CorrectionStatus(StrEnum):
    """How a correction stands that is kept with its answer."""

    RUNNING = "RUNNING"
    DONE = "DONE"


@frozen(kw_only=True)
class CorrectRequest:
    """`POST /chat/correct`: have an answer checked; `model` names a Model, else the deployment's is taken."""

    task_id: int = field(validator=ID)
    subtask_id: int = field(validator=ID)
    model: str | None = field(default=None, validator=NAME)


@frozen(kw_only=True)
class CorrectAccepted:
    """Its answer; what comes of it is told by events, and kept with the subtask."""

    task_id: int
    subtask_id: int
    correction_model: str
    success: bool = True


@frozen(kw_only=True)
class CorrectionStart:
    """`correction:start`."""

    task_id: int
    subtask_id: int
    correction_model: str


@frozen(kw_only=True)
class CorrectionProgress:
    """`correction:progress`."""

    task_id: int
    subtask_id: int
    stage: CorrectionStage
    tool_name: str | None = None


@frozen(kw_only=True)
class CorrectionChunk:
    """`correction:chunk`: a delta; `offset` counts the code points of its field before it."""

    task_id: int
    subtask_id: int
    field: CorrectionField
    content: str
    offset: int


@frozen(kw_only=True)
class Scores:
    """Marks of an answer, each from 0 to 10."""

    accuracy: float
    logic: float
    completeness: float


@frozen(kw_only=True)
class Correction:
    """One thing to put right."""

    issue: str
    suggestion: str


@frozen(kw_only=True)
class CorrectionResult:
    """The whole of a correction."""

    scores: Scores
    corrections: tuple[Correction, ...]
    summary: str
    improved_answer: str
    is_correct: bool


@frozen(kw_only=True)
class CorrectionDone:
    """`correction:done`."""

    task_id: int
    subtask_id: int
    result: CorrectionResult


@frozen(kw_only=True)
class CorrectionError:
    """`correction:error`."""

    task_id: int
    subtask_id: int
    error: str


@frozen(kw_only=True)
class KeptCorrection:
    """What rows tell of a correction; the whole is at `GET /subtasks/{id}/correction`."""

    status: CorrectionStatus
    correction_model: str
    is_correct: bool | None = None
    scores: Scores | None = None
    applied: bool | None = None


@frozen(kw_only=True)
class CorrectionItem:
    """`GET /subtasks/{id}/correction`."""

    task_id: int
    subtask_id: int
    status: CorrectionStatus
    correction_model: str
    started_at: datetime
    result: CorrectionResult | None = None
    applied: bool = False
