"""What a container keeps from one message to the next, what it is kept from, and when it is removed."""

from __future__ import annotations

import contextlib

import pytest
import trio
from attrs import evolve

from wegent.core.errors import RunFailed
from wegent.core.instruments import Registry
from wegent.executors.docker.engine import Engine
from wegent.executors.docker.executor import DockerExecutor
from wegent.executors.docker.metering import Meter
from wegent.executors.docker.options import DockerOptions
from wegent.executors.workspace import GitOptions, Workspaces
from wegent.protocol.jobs import JobWorkspace
from wegent.testing.checkpoints import at_every_checkpoint
from wegent.testing.executor_contract import AGENT, CONTRACT, contract_job
from wegent.testing.jobs import make_job
from wegent.testing.sinks import MemorySink

ASK = "import json, os, sys; input(); "
REPORT = (
    ASK
    + """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def fails(path):
    try: open(path, "w")
    except OSError as error: return error.strerror
print(json.dumps({"type": "done", "result": {"workbench": {
    "user": f"{os.getuid()}:{os.getgid()}", "init": open("/proc/1/comm").read().strip(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16), "new": status["NoNewPrivs"].strip(),
    "network": os.listdir("/sys/class/net"), "folder": os.getcwd(), "files": sorted(os.listdir()),
    "root": fails("/etc/x"), "tmp": fails("/tmp/x"), "workspace": fails("new"),
    "environment": sorted(set(os.environ) - {"LC_CTYPE"})}}}))
"""
)
COUNT = (
    ASK
    + """
with open("/note", "a+") as file:
    file.write("x"); file.seek(0)
    print(json.dumps({"type": "chunk", "content": file.read()}))
print(json.dumps({"type": "done"}))
"""
)
OPTIONS = {
    "agents": {CONTRACT: AGENT},
    "commands": {"Report": ("python3", "-c", REPORT), "Count": ("python3", "-c", COUNT)},
    "environment": {"MINE": "1"},
}


@pytest.fixture
def executor(docker_daemon, tmp_path):
    def make(instance="keeping", **options):
        folder = Workspaces(tmp_path / "workspaces", GitOptions(protocols=("file",)))
        return DockerExecutor(Engine(docker_daemon.socket), instance, folder, DockerOptions(**OPTIONS | options))

    return make


async def said(executor, job):
    sink = MemorySink()
    await executor.run(job, sink)
    return sink.content


async def test_a_runner_has_its_tasks_folder_and_nothing_of_the_machine(executor, tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=t", "-c", "user.email=t@e", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        await trio.run_process(["git", *command], cwd=repository)
    job = make_job(
        shell_type="Report", task_id=contract_job("").task_id, workspace=JobWorkspace(git_url=f"file://{repository}")
    )
    outcome = await executor().run(job, MemorySink())
    seen = outcome.result["workbench"]
    assert seen == {
        "user": "65534:65534",
        "init": "docker-init",
        "capabilities": 0,
        "new": "1",
        "network": ["lo"],
        "folder": "/workspace",
        "files": [".git"],
        "root": "Read-only file system",
        "tmp": None,
        "workspace": None,
        "environment": ["HOME", "HOSTNAME", "MINE", "PATH", "PYTHONPATH", "WEGENT_TASK_ID"],
    }
    made = tmp_path / "workspaces" / str(job.task_id) / "new"
    assert (made.stat().st_uid, (made.parent / ".git" / "config").stat().st_uid) == (65_534, 65_534)


async def test_files_outside_the_folder_stay_for_the_tasks_next_message(executor, docker_daemon):
    options = {"read_only": False, "user": "0:0"}
    job = contract_job("", "Count")
    assert [await said(executor(**options), job) for _ in range(3)] == ["x", "xx", "xxx"]
    assert len(docker_daemon.of_task(job.task_id)) == 1
    assert await said(executor(**options), contract_job("", "Count")) == "x"
    changed = executor(**options, environment={"MINE": "2"})
    assert await said(changed, job) == "x", "a container that is made of something else is another one"
    assert len(docker_daemon.of_task(job.task_id)) == 1


async def test_a_message_that_is_cancelled_at_any_moment_costs_no_files(executor, docker_daemon):
    counting, job = executor(read_only=False, user="0:0"), contract_job("", "Count")
    assert await said(counting, job) == "x"
    made = docker_daemon.of_task(job.task_id)[0]["Id"]

    async def attempt(cut):
        if cut.nth % 7:
            cut.done = True  # this one is left out
            return
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await counting.run(job, MemorySink())
        assert [(one["Id"], one["State"]) for one in docker_daemon.of_task(job.task_id)] == [(made, "exited")]

    assert await at_every_checkpoint(attempt) > 0


async def test_a_shell_may_name_an_image_that_is_allowed_and_ask_for_less(executor, docker_daemon):
    docker_daemon.ask("POST", "/images/wegent-runner/tag", {"repo": "agents/own", "tag": "1"})
    job = contract_job("echo hi")
    bot = evolve(job.spec.bot, image="agents/own:1", resources={"memory": 50_000_000, "cpus": 99})
    job = evolve(job, spec=evolve(job.spec, bot=bot))
    with pytest.raises(RunFailed, match=r"`docker\.shell_images`") as caught:
        await said(executor(), job)
    assert caught.value.type == "image"
    assert await said(executor(shell_images=("agents/*",)), job) == "hi"
    made = docker_daemon.ask("GET", f"/containers/{docker_daemon.of_task(job.task_id)[0]['Id']}/json")
    assert made["Config"]["Image"] == "agents/own:1"
    assert (made["HostConfig"]["Memory"], made["HostConfig"]["CpuQuota"]) == (50_000_000, 200_000)


async def test_containers_are_kept_until_they_are_idle_or_too_many(executor, docker_daemon):
    jobs = [contract_job("echo hi") for _ in range(3)]
    for job in jobs:
        await said(executor(), job)

    def there():
        return [bool(docker_daemon.of_task(job.task_id)) for job in jobs]

    await executor().reclaim()
    assert there() == [True, True, True]
    await executor(kept=2).reclaim()
    assert there() == [False, True, True]
    await executor(idle=0).reclaim()
    assert there() == [False, False, False]


async def test_what_an_earlier_life_left_running_is_removed_and_nothing_of_others(executor, docker_daemon):
    orphan, others, used = contract_job("wait"), contract_job("wait"), contract_job("wait")
    now = executor()
    async with trio.open_nursery() as nursery:
        for life, job in ((executor(), orphan), (executor("another"), others), (now, used)):
            sink = MemorySink()
            nursery.start_soon(ended, life, job, sink)
            with trio.fail_after(20):
                await sink.wait_for("waiting")
        await now.reclaim()
        assert docker_daemon.of_task(orphan.task_id) == []
        assert [docker_daemon.of_task(job.task_id)[0]["State"] for job in (others, used)] == ["running", "running"]
        nursery.cancel_scope.cancel()


async def ended(executor, job, sink):
    with contextlib.suppress(RunFailed):
        await executor.run(job, sink)


async def test_what_running_containers_use_is_measured(docker_daemon, tmp_path):
    registry, engine = Registry(), Engine(docker_daemon.socket)
    meter = Meter(engine, registry)
    executor = DockerExecutor(engine, "metering", Workspaces(tmp_path), DockerOptions(**OPTIONS), meter)

    def read():
        return {sample.name: sample.value for sample in registry.collect()}

    async with trio.open_nursery() as nursery:
        sink = MemorySink()
        nursery.start_soon(executor.run, contract_job("wait"), sink)
        await sink.wait_for("waiting")
        await meter.look()
        used = read()
        await meter.look()
        nursery.cancel_scope.cancel()
    assert used["wegent_containers"] == 1
    assert 0.05 < used["wegent_container_cpu_seconds"] < 10
    assert 1_000_000 < used["wegent_container_memory_bytes"] < 200_000_000
    assert read()["wegent_container_cpu_seconds"] < used["wegent_container_cpu_seconds"] + 1, "it counts what is new"
    assert read()["wegent_container_memory_bytes"] == 0
