"""Runners in containers that misbehave, and what others do to containers: each ends with an error that says why, and of
none anything runs on.
"""

from __future__ import annotations

import logging

import pytest
import trio

from tests.executors.hostile_agents import PROGRAMS, program
from wegent.core.errors import RunFailed
from wegent.executors.docker.engine import Engine
from wegent.executors.docker.executor import DockerExecutor
from wegent.executors.docker.options import ContainerLimits, DockerOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import contract_job
from wegent.testing.sinks import MemorySink

LIMITS = ContainerLimits(memory=64 * 1024**2, pids=40, file=8 * 1024**2, files=64, tmp=1024**2)
COMMANDS = {name: ("python3", *program(name)[1:]) for name in PROGRAMS} | {"no_such_program": ("/no/such/program",)}


class FullSink(MemorySink):
    """Takes a million characters, as the log takes four."""

    async def text(self, delta):
        await super().text(delta)
        if len(self.content) > 1_000_000:
            raise RunFailed("too long", type="output_limit")


@pytest.fixture
def executor(docker_daemon, tmp_path):
    options = DockerOptions(commands=COMMANDS, limits=LIMITS, grace=0.3, exit=0.3, timeout=30)
    return DockerExecutor(Engine(docker_daemon.socket), "hostile", Workspaces(tmp_path), options)


@pytest.fixture
def running(docker_daemon):
    """Of a task's containers those that run, or may yet."""
    return lambda task_id: [c["Status"] for c in docker_daemon.of_task(task_id) if c["State"] != "exited"]


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
        ("segfaults", "killed", "SIGSEGV, exit code 139"),
        ("eats_memory", "out_of_memory", "memory"),
        ("opens_many_files", "runner_exit", "exit code 1"),
        ("no_such_program", "runner_exit", "/no/such/program"),
    ],
)
async def test_a_runner_that_goes_wrong_is_told_by_its_cause(executor, running, name, kind, says):
    job = contract_job("go", name)
    with pytest.raises(RunFailed) as caught:
        await executor.run(job, FullSink())
    assert (caught.value.type, says in caught.value.sentence) == (kind, True), caught.value
    assert running(job.task_id) == []


@pytest.mark.parametrize("name", ["without_newline", "ignores_cancel", "ignores_sigterm", "forks_for_ever",
                                  "reads_nothing", "closes_its_output"])  # fmt: skip
async def test_a_runner_that_does_not_heed_cancel_is_made_to_end(executor, running, name):
    job, sink = contract_job("go" * 500_000, name), MemorySink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, job, sink)
        if name == "without_newline":
            await trio.sleep(0.8)
        else:
            await sink.wait_for("up")
        assert running(job.task_id)
        cancelled = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - cancelled < 3 * 0.3 + 1
    assert running(job.task_id) == []


@pytest.mark.parametrize("name", ["leaves_children", "stays_after_done", "talks_after_done"])
async def test_what_a_runner_leaves_behind_is_ended(executor, running, name):
    job = contract_job("go", name)
    await executor.run(job, MemorySink())
    assert running(job.task_id) == []


async def test_a_log_is_bounded_and_told_at_debug_only(executor, caplog):
    caplog.set_level(logging.DEBUG, logger="wegent.executors.errorlog")
    await executor.run(contract_job("go", "fills_its_log"), MemorySink())
    assert 60_000 < caplog.text.count("secret") * 7 <= 65_536 + 7
    assert all(record.levelno == logging.DEBUG for record in caplog.records if "secret" in record.getMessage())


async def interrupted(executor, interrupt):
    """How a run fails to whose container something is done while it speaks."""
    job, sink, failures = contract_job("go", "reads_nothing"), MemorySink(), []

    async def run():
        with pytest.raises(RunFailed) as caught:
            await executor.run(job, sink)
        failures.append(caught.value)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await sink.wait_for("up")
            await trio.to_thread.run_sync(interrupt, job.task_id)
    return failures[0]


async def test_a_container_that_somebody_kills_is_told_from_one_that_crashed(executor, docker_daemon):
    error = await interrupted(executor, lambda task_id: docker_daemon.kill(docker_daemon.of_task(task_id)[0]["Id"]))
    assert (error.type, "SIGKILL, exit code 137" in error.sentence) == ("killed", True), error


async def test_a_container_that_somebody_removes_counts_as_killed(executor, docker_daemon):
    error = await interrupted(executor, lambda task_id: docker_daemon.remove(docker_daemon.of_task(task_id)[0]["Id"]))
    assert error.type == "killed", error


async def test_a_command_that_needs_too_much_memory_is_told_so(executor, running):
    job = contract_job("tail /dev/zero", "Command")
    with pytest.raises(RunFailed) as caught:
        await executor.run(job, MemorySink())
    assert caught.value.type == "out_of_memory", caught.value
    assert running(job.task_id) == []
