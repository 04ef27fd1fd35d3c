"""An agent that notes in a file what it says before it says it, to be compared with what came of it."""

from __future__ import annotations

import json

import trio

from wegent.core.ports.executor import Sink
from wegent.runner.job import Job


async def run(job: Job, sink: Sink) -> dict[str, object]:
    """`{"record": file, "deltas": number, "pause": seconds, "skill": whether to ask, "forever": whether to stay}`."""
    told = json.loads(job.prompt)
    record = trio.Path(told["record"])
    written = ""
    await sink.thinking("Let me see. 🤔")
    await sink.block({"id": "t", "tool_name": "search", "tool_input": {"q": "日本"}, "status": "streaming"})
    for number in range(told["deltas"]):
        delta = f"{number}. Grüß 👋🏽\n"
        written += delta
        await record.write_text(written)
        await sink.text(delta)
        await sink.progress(100 * number // told["deltas"])
        await trio.sleep(told["pause"])
    if told.get("skill"):
        answer = await sink.skill("place", "where", {"exact": True})
        written += f"You are in {answer['city']}."
        await record.write_text(written)
        await sink.text(f"You are in {answer['city']}.")
    if told.get("forever"):
        await trio.sleep_forever()
    await sink.block({"id": "t", "tool_output": ["found"], "status": "done"})
    await sink.app({"name": "site", "address": "127.0.0.1:3000", "previewUrl": "http://127.0.0.1:3000/"})
    return {"deltas": told["deltas"]}
