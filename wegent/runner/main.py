"""The runner's life: one job, one agent, one ending."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from wegent.core.errors import RunFailed, WegentError
from wegent.core.failure import leaves
from wegent.core.ports.executor import Sink
from wegent.runner.agent import Agent, load
from wegent.runner.job import Job
from wegent.runner.sink import WireSink
from wegent.runner.wire import Wire


def run(agent: Agent) -> None:
    """Speak the runner protocol on standard input and output for `agent`; returns when the job has ended."""
    trio.run(_serve, lambda: agent)


def run_reference(reference: str) -> None:
    """The same for the agent that `module:function` names."""
    trio.run(_serve, lambda: load(reference))


async def _serve(find: Callable[[], Agent]) -> None:
    """Wait for the job, do it, say how it ended. `cancel` and SIGTERM cancel the agent."""
    async with Wire() as wire, trio.open_nursery() as nursery:
        sink, scope = WireSink(wire), trio.CancelScope()
        send_job, receive_job = trio.open_memory_channel[Job](1)
        nursery.start_soon(_hear, wire, sink, scope, send_job)
        await nursery.start(_heed_sigterm, scope)
        ending: dict[str, Any] = {"kind": "error", "message": "The run was cancelled."}
        with scope:
            ending = await _work(find, receive_job, sink)
        await wire.say(ending.pop("kind"), **ending)
        nursery.cancel_scope.cancel()


async def _hear(wire: Wire, sink: WireSink, scope: trio.CancelScope, job: trio.MemorySendChannel[Job]) -> None:
    while (told := await wire.receive()) is not None:
        match told.get("type"):
            case "start":
                job.send_nowait(Job.read(told["job"], Path.cwd()))
            case "cancel":
                scope.cancel()
            case "skill":
                sink.answer(told)
    job.close()


async def _heed_sigterm(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _work(find: Callable[[], Agent], jobs: trio.MemoryReceiveChannel[Job], sink: Sink) -> dict[str, Any]:
    """Run the agent, once it has a job; the last line to say."""
    try:
        workbench = await find()(await jobs.receive(), sink)
    except trio.EndOfChannel:
        return {"kind": "error", "message": "No job came before the end of standard input."}
    except Exception as error:
        return _failure(error)
    result = None if workbench is None else {"workbench": dict(workbench)}
    return {"kind": "done", "result": result}


def _failure(error: Exception) -> dict[str, Any]:
    found = list(leaves(error))
    for leaf in found:
        if isinstance(leaf, WegentError):
            kind = leaf.type if isinstance(leaf, RunFailed) else "internal"
            return {"kind": "error", "message": leaf.sentence, "error_type": kind}
        if isinstance(leaf, MemoryError):
            return {"kind": "error", "message": "The agent needed more memory than it may have.",
                    "error_type": "out_of_memory"}  # fmt: skip
    traceback.print_exception(error, file=sys.stderr)
    names = ", ".join(sorted({type(leaf).__name__ for leaf in found}))
    return {"kind": "error", "message": f"The agent failed ({names}); its log says more.", "error_type": "internal"}
