"""Checking an answer and improving it (protocol section 4)."""

from enum import StrEnum

from attrs import frozen


class CorrectionStage(StrEnum):
    """What a correction is at."""

    VERIFYING_FACTS = "verifying_facts"
    EVALUATING = "evaluating"
    GENERATING_IMPROVEMENT = "generating_improvement"


class CorrectionField(StrEnum):
    """Which text a delta belongs to."""

    SUMMARY = "summary"
    IMPROVED_ANSWER = "improved_answer"


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
    """Marks of an answer."""

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
