"""`/call` of the offline engine: a tool is used for real, so that tools can be tried without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wegent.engines.offline_steps import Say, Step, short
from wegent.protocol.chat_shell import ModelMessage, ResponseRequest, ToolCall

_CALL = re.compile(r"\s*(?:@\S+\s+)?/call\b[ \t]*([\w-]*)\s*(.*)", re.IGNORECASE | re.DOTALL)
MOST = 4_000


def calling(request: ResponseRequest) -> tuple[Iterator[Step], tuple[ToolCall, ...]] | None:
    """The steps and the calls that answer a request whose newest message of a person is `/call`; None if it is not.

    None also where no tools are offered: the directive itself says so.
    """
    asked = [message for message in request.messages if message.role == "user"]
    content = asked[-1].content if asked else None
    call = _CALL.fullmatch(content) if isinstance(content, str) else None
    if call is None or not request.tools:
        return None
    last = request.messages[-1]
    if last.tool_call_id is not None:
        return _told(last), ()
    if not call[1]:
        return _offered(request), ()
    wanted = ToolCall(id="call", name=call[1], arguments=call[2].strip() or "{}")
    return iter([Say(f"I use `{call[1]}`. ")]), (wanted,)


def _offered(request: ResponseRequest) -> Iterator[Step]:
    yield Say("These tools are offered for this answer:\n\n")
    for tool in request.tools or ():
        yield Say(f"- `{tool.name}`: {short(' '.join(tool.description.split()), 200)}\n")


def _told(output: ModelMessage) -> Iterator[Step]:
    text = output.content if isinstance(output.content, str) else ""
    said = "It failed" if output.failed else "It answered"
    yield Say(f"{said}:\n\n```\n{short(text, MOST)}\n```\n")
