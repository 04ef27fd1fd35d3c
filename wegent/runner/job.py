"""A job as an agent gets it, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen


@frozen
class Message:
    """An earlier message of the task."""

    role: str
    content: str
    sender: str | None = None


@frozen
class Bot:
    """Which bot answers, and what it is made of; `model`, `tools` and the like as their kinds give them."""

    name: str = ""
    shell_type: str = ""
    system_prompt: str = ""
    model: Mapping[str, Any] = field(factory=dict)
    tools: tuple[Any, ...] = ()
    mcp_servers: Any = field(factory=dict)
    skills: tuple[Any, ...] = ()


@frozen
class Job:
    """One attempt at one reply.

    `folder` is where the task's files are, `workspace` what was cloned into it; `raw` is the whole job as the
    protocol has it (§7.1). `auth_token` reads the task's rows and attachments; `traceparent`
    (W3C Trace Context) is the span that the work is a part of.
    """

    task_id: int
    subtask_id: int
    attempt: int
    prompt: str
    folder: Path
    title: str = ""
    user_name: str = ""
    team_name: str = ""
    bot: Bot = field(factory=Bot)
    history: tuple[Message, ...] = ()
    attachments: tuple[Any, ...] = ()
    workspace: Mapping[str, Any] = field(factory=dict)
    auth_token: str = field(default="", repr=False)
    traceparent: str | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False)

    @classmethod
    def read(cls, raw: Mapping[str, Any], folder: Path) -> Job:
        """From a job's JSON."""
        return cls(
            task_id=raw["task_id"],
            subtask_id=raw["subtask_id"],
            attempt=raw["attempt"],
            prompt=raw["prompt"],
            folder=folder,
            title=raw.get("title", ""),
            user_name=(raw.get("user") or {}).get("name", ""),
            team_name=(raw.get("team") or {}).get("name", ""),
            bot=_bot(raw.get("bot") or {}),
            history=tuple(Message(m["role"], m["content"], m.get("sender")) for m in raw.get("history") or ()),
            attachments=tuple(raw.get("attachments") or ()),
            workspace=raw.get("workspace") or {},
            auth_token=raw.get("auth_token", ""),
            traceparent=raw.get("traceparent"),
            raw=raw,
        )


def _bot(raw: Mapping[str, Any]) -> Bot:
    return Bot(
        name=raw.get("name", ""),
        shell_type=raw.get("shell_type", ""),
        system_prompt=raw.get("system_prompt", ""),
        model=raw.get("model") or {},
        tools=tuple(raw.get("tools") or ()),
        mcp_servers=raw.get("mcp_servers") or {},
        skills=tuple(raw.get("skills") or ()),
    )
