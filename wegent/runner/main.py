"""The runner's life: one job, one agent, one ending."""

from __future__ import annotations

import os
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
    """Speak the runner protocol on standard input and output for `agent`; returns when the job has ended.

    Raises:
        SystemExit: with the code of SIGTERM, if that ended it and not a `cancel`.
    """
    _run(lambda: agent)


def run_reference(reference: str) -> None:
    """The same for the agent that `module:function` names."""
    _run(lambda: load(reference))


def _run(find: Callable[[], Agent]) -> None:
    if trio.run(_serve, find):
        sys.exit(128 + signal.SIGTERM)


async def _serve(find: Callable[[], Agent]) -> bool:
    """Wait for the job, do it, say how it ended. `cancel` and SIGTERM cancel the agent; whether SIGTERM came first."""
    async with Wire() as wire, trio.open_nursery() as nursery:
        sink, stop = WireSink(wire), _Stop()
        send_job, receive_job = trio.open_memory_channel[Job](1)
        nursery.start_soon(_hear, wire, sink, stop, send_job)
        await nursery.start(_heed_sigterm, stop)
        ending: dict[str, Any] | None = None
        with stop.scope:
            ending = await _work(find, receive_job, sink)
        ending = ending or stop.ending()
        await wire.say(ending.pop("kind"), **ending)
        nursery.cancel_scope.cancel()
    return stop.terminated


class _Stop:
    """Who wants the agent to stop: the server, or whoever sent SIGTERM without its knowing."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.terminated = False

    def cancel(self) -> None:
        self.scope.cancel()

    def terminate(self) -> None:
        self.terminated = not self.scope.cancel_called
        self.scope.cancel()

    def ending(self) -> dict[str, Any]:
        if self.terminated:
            return {"kind": "error", "message": "The runner was ended by SIGTERM.", "error_type": "killed"}
        return {"kind": "error", "message": "The run was cancelled."}


async def _hear(wire: Wire, sink: WireSink, stop: _Stop, job: trio.MemorySendChannel[Job]) -> None:
    while (told := await wire.receive()) is not None:
        match told.get("type"):
            case "place":  # started before there was a job
                os.chdir(told["folder"])
                os.environ.update(told["environment"])
            case "start":
                job.send_nowait(Job.read(told["job"], Path.cwd()))
            case "cancel":
                stop.cancel()
            case "skill":
                sink.answer(told)
    job.close()


async def _heed_sigterm(stop: _Stop, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            stop.terminate()


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
