"""The agent of the contract for executors: does what the prompt's first word says. Imports as little as it may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.runner.job import Job


async def run(job: Job, sink: Sink) -> Mapping[str, Any] | None:
    """See the module."""
    await trio.lowlevel.checkpoint()
    word, _, rest = job.prompt.partition(" ")
    match word:
        case "everything":
            return await _everything(sink)
        case "echo":
            for line in rest.splitlines(keepends=True):
                await sink.text(line)
        case "file":
            await _file(job, sink, rest)
        case "fail":
            await sink.text("before")
            raise RunFailed("The model has no key.", type="model")
        case "crash":
            await sink.text("before")
            raise LookupError(rest)
        case "wait":
            await sink.text("waiting")
            await trio.sleep_forever()
        case "print":
            print(rest)  # noqa: T201 - it must not come between the lines of the protocol
            await sink.text("printed")
    return None


async def _everything(sink: Sink) -> Mapping[str, Any]:
    await sink.thinking("Let me see. ")
    await sink.text("Grüß 👋🏽 ")
    await sink.block({"id": "t", "tool_name": "search", "tool_input": {"q": "日本"}, "status": "streaming"})
    await sink.progress(40, "almost half")
    await sink.block({"id": "t", "tool_output": ["found"], "status": "done"})
    await sink.app({"name": "site", "address": "127.0.0.1:3000", "previewUrl": "http://127.0.0.1:3000/"})
    answer = await sink.skill("place", "where", {"exact": True})
    await sink.text(f"You are in {answer['city']}.")
    try:
        await sink.skill("place", "refuse", {})
    except RunFailed:
        await sink.text(" Nobody answered.")
    await sink.progress(100)
    return {"files": ["a.txt"]}


async def _file(job: Job, sink: Sink, text: str) -> None:
    """Says what the task's file holds, and writes it."""
    path = trio.Path(job.folder / "note.txt")
    await sink.text(await path.read_text() if await path.exists() else "nothing")
    await path.write_text(text)
