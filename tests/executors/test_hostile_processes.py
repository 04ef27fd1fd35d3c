"""Runners that misbehave: each ends with an error that says why, and of none is anything left."""

from __future__ import annotations

import logging
import os
import signal
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.executors.hostile_agents import PROGRAMS, program
from tests.executors.processes import none_left, processes_of
from wegent.core.errors import RunFailed
from wegent.executors.child import Limits
from wegent.executors.process import ProcessExecutor, ProcessOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import contract_job
from wegent.testing.sinks import MemorySink

LIMITS = Limits(memory=128 * 1024**2, cpu=1, file=8 * 1024**2, files=64)


class FullSink(MemorySink):
    """Takes a million characters, as the log takes four."""

    async def text(self, delta):
        await super().text(delta)
        if len(self.content) > 1_000_000:
            raise RunFailed("too long", type="output_limit")


@pytest.fixture
def executor(tmp_path):
    options = ProcessOptions(
        commands={name: program(name) for name in PROGRAMS}, limits=LIMITS, grace=0.3, exit=0.3, timeout=30
    )
    return ProcessExecutor(Workspaces(tmp_path), options)


async def failure(executor, name, sink=None):
    """How the run fails; nothing is left of it."""
    job = contract_job("go", name)
    with pytest.raises(RunFailed) as caught:
        await executor.run(job, sink or FullSink())
    if name == "kills_its_keeper":  # there is nobody who could tell when they are gone
        await none_left(job.task_id, 1)
    assert processes_of(job.task_id) == []
    return caught.value


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("without_end", "output_limit", "too long"),
        ("one_endless_line", "protocol", "1,000,000 bytes"),
        ("binary", "protocol", "no message"),
        ("huge_file", "runner_exit", "exit code 1"),
        ("huge_file_in_c", "output_limit", "file"),
        ("exits_0", "runner_exit", "exit code 0"),
        ("exits_7", "runner_exit", "exit code 7"),
        ("segfaults", "killed", "SIGSEGV"),
        ("burns_cpu", "timeout", "CPU"),
        ("eats_memory", "out_of_memory", "memory"),
        ("kills_its_keeper", "killed", "watches"),
        ("opens_many_files", "runner_exit", "exit code 1"),
    ],
)
async def test_a_runner_that_goes_wrong_is_told_by_its_cause(executor, name, kind, says):
    error = await failure(executor, name)
    assert (error.type, says in error.sentence) == (kind, True), error


@pytest.mark.parametrize("name", ["without_newline", "ignores_cancel", "ignores_sigterm", "forks_for_ever",
                                  "reads_nothing", "closes_its_output", "burns_cpu"])  # fmt: skip
async def test_a_runner_that_does_not_heed_cancel_is_made_to_end(executor, name):
    job, sink = contract_job("go" * 500_000, name), MemorySink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, job, sink)
        if name == "without_newline":
            await trio.sleep(0.3)
        else:
            await sink.wait_for("up")
        assert processes_of(job.task_id)
        cancelled = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - cancelled < 3 * 0.3 + 1
    assert processes_of(job.task_id) == []


@pytest.mark.parametrize("name", ["leaves_children", "stays_after_done", "talks_after_done"])
async def test_what_a_runner_leaves_behind_is_ended(executor, name):
    job = contract_job("go", name)
    await executor.run(job, MemorySink())
    assert processes_of(job.task_id) == []


async def test_a_runner_that_never_ends_is_stopped_after_its_time(tmp_path):
    options = ProcessOptions(commands={"x": program("ignores_cancel")}, timeout=0.5, grace=0.1)
    error = await failure(ProcessExecutor(Workspaces(tmp_path), options), "x")
    assert error.type == "timeout"


async def test_a_log_is_bounded_and_told_at_debug_only(executor, caplog):
    caplog.set_level(logging.INFO)
    await executor.run(contract_job("go", "fills_its_log"), MemorySink())
    assert "secret" not in caplog.text
    assert "7000000 bytes" in caplog.text
    caplog.set_level(logging.DEBUG)
    await executor.run(contract_job("go", "fills_its_log"), MemorySink())
    assert 60_000 < caplog.text.count("secret") * 7 <= 65_536 + 7


async def test_a_program_that_is_not_there_is_an_error_that_names_it(tmp_path):
    executor = ProcessExecutor(Workspaces(tmp_path), ProcessOptions(commands={"x": ("/no/such/program",)}))
    assert "/no/such/program" in (await failure(executor, "x")).sentence


async def test_a_runner_sees_nothing_of_the_servers_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_KEY", "secret")
    monkeypatch.setenv("MINE", "passed")
    code = "import os, json; input(); "
    code += "print(json.dumps({'type': 'done', 'result': {'workbench': dict(os.environ)}}))"
    options = ProcessOptions(
        commands={"x": (sys.executable, "-c", code)}, environment={"SET": "1"}, pass_environment=("MINE",)
    )
    outcome = await ProcessExecutor(Workspaces(tmp_path), options).run(contract_job("x", "x"), MemorySink())
    seen = outcome.result["workbench"]
    assert "OPENAI_KEY" not in seen
    assert (seen["SET"], seen["MINE"], seen["PATH"]) == ("1", "passed", os.environ["PATH"])


async def test_a_server_that_is_killed_leaves_no_process(tmp_path):
    job = contract_job("go", "leaves_children")
    server = textwrap.dedent(f"""
        import sys, trio
        from pathlib import Path
        sys.path.insert(0, {str(Path.cwd())!r})
        from tests.executors.hostile_agents import program
        from wegent.executors.process import ProcessExecutor, ProcessOptions
        from wegent.executors.workspace import Workspaces
        from wegent.testing.jobs import make_job
        from wegent.testing.sinks import MemorySink
        async def main():
            commands = {{name: program(name) for name in ("ignores_sigterm", "forks_for_ever")}}
            executor = ProcessExecutor(Workspaces(Path({str(tmp_path)!r})), ProcessOptions(commands=commands))
            async with trio.open_nursery() as nursery:
                for name in commands:
                    job = make_job("go", shell_type=name, task_id={job.task_id})
                    nursery.start_soon(executor.run, job, MemorySink())
        trio.run(main)
    """)
    async with trio.open_nursery() as nursery:
        command = [sys.executable, "-c", server]
        process = await nursery.start(partial(trio.run_process, command, capture_stdout=True, check=False))
        with trio.fail_after(10):
            while len(processes_of(job.task_id)) < 5:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        await none_left(job.task_id, 1)
