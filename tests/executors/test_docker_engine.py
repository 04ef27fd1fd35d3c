"""An engine that is not there, goes away, or does not have what a run needs: errors that say what to do."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.executors.docker.engine import Engine
from wegent.executors.docker.executor import DockerExecutor
from wegent.executors.docker.options import DockerOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import AGENT, CONTRACT, contract_job
from wegent.testing.jobs import make_job
from wegent.testing.sinks import MemorySink


def executor_on(socket, folder, patience=10.0, **options):
    options = DockerOptions(agents={CONTRACT: AGENT}, **options)
    return DockerExecutor(Engine(socket, patience=patience), "engine", Workspaces(folder), options)


async def failure(executor, job=None):
    with pytest.raises(RunFailed) as caught:
        await executor.run(job or contract_job("echo hi"), MemorySink())
    return caught.value


async def test_without_an_engine_a_run_says_where_one_was_looked_for(tmp_path):
    error = await failure(executor_on(tmp_path / "none.sock", tmp_path))
    assert error.type == "engine_away"
    assert f"No Docker engine listens at {tmp_path}/none.sock: start it" in error.sentence


async def test_a_socket_that_nobody_listens_at_is_no_engine(tmp_path):
    with trio.socket.socket(trio.socket.AF_UNIX) as socket:
        await socket.bind(str(tmp_path / "s"))
        error = await failure(executor_on(tmp_path / "s", tmp_path))
    assert (error.type, "No Docker engine listens" in error.sentence) == ("engine_away", True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_an_engine_that_the_server_may_not_use_says_what_would_let_it(tmp_path):
    with trio.socket.socket(trio.socket.AF_UNIX) as socket:
        await socket.bind(str(tmp_path / "s"))
        socket.listen()
        os.seteuid(65_534)
        try:
            with pytest.raises(
                RunFailed, match=r"may not use the Docker engine at .*/s: add it to the group"
            ) as caught:
                await Engine(tmp_path / "s").ping()
        finally:
            os.seteuid(0)
    assert caught.value.type == "engine_away"


@pytest.mark.parametrize(
    ("answer", "says"), [(None, "does not answer"), (b"", "stopped"), (b"hello\r\n\r\n", "stopped")]
)
async def test_what_does_not_answer_as_an_engine_is_none(tmp_path, answer, says):
    async def listen(listener):
        while True:
            stream, _ = await listener.accept()
            if answer is not None:
                await stream.recv(65_536)
                await stream.send(answer)
                stream.close()
            else:
                kept.append(stream)

    kept = []
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(tmp_path / "s"))
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, listener)
            error = await failure(executor_on(tmp_path / "s", tmp_path, patience=0.5))
            nursery.cancel_scope.cancel()
    for stream in kept:
        stream.close()
    assert (error.type, says in error.sentence) == ("engine_away", True), error


async def test_an_image_that_is_not_there_is_named_with_how_it_comes(docker_daemon, tmp_path):
    error = await failure(executor_on(docker_daemon.socket, tmp_path, image="registry.example/agents:7"))
    assert error.type == "image"
    assert "`docker pull registry.example/agents:7`" in error.sentence


async def test_a_setting_that_the_engine_refuses_is_told_in_its_words(docker_daemon, tmp_path):
    error = await failure(executor_on(docker_daemon.socket, tmp_path, network="nonesuch"))
    assert "nonesuch" in error.sentence


async def test_an_engine_that_hangs_does_not_hold_a_cancelled_run(docker_daemon, tmp_path):
    executor = executor_on(docker_daemon.socket, tmp_path, patience=3, grace=0.2)
    sink, job = MemorySink(), contract_job("wait")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.run, job, sink)
            with trio.fail_after(20):
                await sink.wait_for("waiting")
            docker_daemon.pause()
            cancelled = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - cancelled < 3 + 3 * 0.2 + 1
    finally:
        docker_daemon.resume()
    await executor.reclaim()
    assert "running" not in [one["State"] for one in docker_daemon.of_task(job.task_id)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_an_engine_that_stops_ends_its_runs_and_is_used_again_when_it_is_back(docker_daemon, tmp_path, how):
    executor, sink, job = executor_on(docker_daemon.socket, tmp_path), MemorySink(), contract_job("wait")
    errors = []

    async def run():
        with pytest.raises(RunFailed) as caught:
            await executor.run(job, sink)
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(20):
            await sink.wait_for("waiting")
        await trio.to_thread.run_sync(docker_daemon.stop, how)
        with trio.fail_after(2):
            while not errors:  # noqa: ASYNC110 - the end of the nursery would not tell how long it took
                await trio.sleep(0.01)
    assert (errors[0].type, "start it" in errors[0].sentence) == ("engine_away", True), errors[0]
    assert (await failure(executor, job)).type == "engine_away"
    await trio.to_thread.run_sync(docker_daemon.start)
    await executor.run(contract_job("echo hi"), MemorySink())
    sink = MemorySink()
    await executor.run(make_job("echo again", shell_type=CONTRACT, task_id=job.task_id), sink)
    assert sink.content == "again"
    assert [one["State"] for one in docker_daemon.of_task(job.task_id)] == ["exited"]
