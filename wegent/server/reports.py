"""What executor hosts and devices report of their runs, as the kernel takes it (protocol §7.1, §7.2, §8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from wegent.core.failure import SENTENCE_LIMIT
from wegent.core.model import CONTENT, THINKING, Ending, EndingStatus
from wegent.core.said import Said, SaidApp, SaidBlock, SaidProgress, SaidSkill, SaidText, SaidWhole
from wegent.core.text import bounded, clean
from wegent.protocol.devices import TaskComplete, TaskProgress
from wegent.protocol.hosts import ReportStatus
from wegent.protocol.runner import (
    ReportedResult,
    RunnerApp,
    RunnerBlock,
    RunnerChunk,
    RunnerDone,
    RunnerError,
    RunnerMessage,
    RunnerProgress,
    RunnerSkill,
    RunnerThinking,
)
from wegent.protocol.status import ErrorType

UNSAID = "the agent failed and did not say why"


@frozen
class Report:
    """What is to be said, in order, and then the ending, if this is the last report."""

    said: tuple[Said, ...]
    ending: Ending | None = None


def host_report(report: ReportStatus) -> Report:
    """`PUT /tasks/{id}/status`."""
    said, ending = _events(report.events or ())
    said += _values(report.result, report.progress)
    if report.status is not None and report.status.terminal:
        ending = _ending(EndingStatus(report.status.value), report.result, report.error_message, report.error_type)
    return Report(tuple(said), ending)


def device_report(report: TaskProgress) -> Report:
    """`task:progress`."""
    first = [] if report.delta is None else [SaidText(CONTENT, report.delta, report.offset)]
    said, ending = _events(report.events or ())
    said += _values(report.result, report.progress)
    if report.status is not None and report.status.terminal:
        ending = _ending(EndingStatus(report.status.value), report.result)
    return Report((*first, *said), ending)


def device_ending(report: TaskComplete) -> Report:
    """`task:complete`."""
    ending = _ending(EndingStatus(report.status.value), report.result, report.error_message, report.error_type)
    progress = report.progress if ending.status is not EndingStatus.COMPLETED else None
    return Report(tuple(_values(report.result, progress)), ending)


def _events(events: Iterable[RunnerMessage]) -> tuple[list[Said], Ending | None]:
    """What messages say, up to the one that ends the run; what comes after that is nothing."""
    said: list[Said] = []
    for event in events:
        if isinstance(event, RunnerDone):
            return said + _values(event.result), _ending(EndingStatus.COMPLETED, event.result)
        if isinstance(event, RunnerError):
            return said, _ending(EndingStatus.FAILED, None, event.message, event.error_type)
        said.extend(_said(event))
    return said, None


def _said(event: RunnerMessage) -> Iterator[Said]:
    match event:
        case RunnerChunk():
            yield SaidText(CONTENT, event.content, event.offset)
        case RunnerThinking():
            yield SaidText(THINKING, event.content, event.offset)
        case RunnerBlock():
            yield SaidBlock(event.fields())
        case RunnerProgress():
            yield SaidProgress(event.progress, event.message)
        case RunnerApp():
            yield SaidApp({"name": event.name, "address": event.address, "previewUrl": event.previewUrl})
        case RunnerSkill():
            data = event.data if isinstance(event.data, dict) else {"data": event.data} if event.data else {}
            yield SaidSkill(event.id, event.skill_name, event.action, data)


def _values(result: ReportedResult | None, progress: int | None = None) -> list[Said]:
    said: list[Said] = [] if progress is None else [SaidProgress(progress)]
    if result is not None:
        whole = ((CONTENT, result.value), (THINKING, result.thinking))
        said.extend(SaidWhole(channel, text) for channel, text in whole if text is not None)
        said.extend(SaidBlock(block) for block in result.blocks or ())
        if result.app is not None:
            said.append(SaidApp(result.app))
    return said


def _ending(
    status: EndingStatus, result: ReportedResult | None, error: str | None = None, error_type: str | None = None
) -> Ending:
    if status is not EndingStatus.FAILED:
        return Ending(status, result=_kept(result))
    sentence = clean(error or "").strip()[:SENTENCE_LIMIT] or UNSAID
    return Ending(status, sentence, ErrorType.named(error_type).value, _kept(result))


def _kept(result: ReportedResult | None) -> dict[str, Any]:
    """What of a result is neither text nor value of the stream."""
    return {} if result is None or result.workbench is None else {"workbench": bounded(result.workbench)}
