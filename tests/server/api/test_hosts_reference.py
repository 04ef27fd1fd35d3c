"""The reference for executor hosts names every field that they send and get, and its examples are good."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from wegent.codec import convert
from wegent.protocol.hosts import FetchTasks, ReportReply, ReportStatus
from wegent.protocol.jobs import Job, JobBot, JobMessage, JobTeam, JobUser, JobWorkspace

PAGE = (Path(__file__).parents[3] / "docs/reference/hosts.md").read_text(encoding="utf-8")
SHOWN = (FetchTasks, Job, JobBot, JobMessage, JobTeam, JobUser, JobWorkspace, ReportStatus, ReportReply)


@pytest.mark.parametrize("kind", SHOWN)
def test_every_field_is_named(kind: type[Any]) -> None:
    code = re.findall(r"```.*?```|`[^`]+`", PAGE, re.DOTALL)
    said = set(re.findall(r"\w+", " ".join(code)))
    assert {field.name for field in attrs.fields(kind)} <= said


def test_the_bodies_shown_are_taken() -> None:
    bodies = [json.loads(body) for body in re.findall(r"-d '(\{.*?\})'", PAGE, re.DOTALL)]
    fetch, report = bodies
    assert convert(fetch, FetchTasks).targets == ("gpu",)
    assert [event.type for event in convert(report, ReportStatus).events or ()] == ["chunk", "progress"]
