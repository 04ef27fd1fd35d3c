"""Agents in the whole application: what a viewer is told of their runs."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import pytest
import trio

from tests.executors.hostile_agents import program
from tests.executors.processes import processes_with
from wegent.core.runs import RunLimits
from wegent.executors.docker.engine import Engine
from wegent.executors.docker.executor import DockerExecutor
from wegent.executors.docker.options import DockerOptions
from wegent.executors.local import LocalExecutor
from wegent.executors.process import ProcessExecutor, ProcessOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import AGENT
from wegent.testing.harness import Application, serving

MARK = f"WEGENT_TEST=application {os.getpid()}"
ENVIRONMENT = dict([MARK.split("=")])


def local(workspaces):
    return LocalExecutor(workspaces, {"Chat": AGENT})


def process(workspaces):
    return ProcessExecutor(workspaces, ProcessOptions(agents={"Chat": AGENT}, environment=ENVIRONMENT))


def docker(workspaces, daemon):
    options = DockerOptions(agents={"Chat": AGENT}, environment=ENVIRONMENT)
    return DockerExecutor(Engine(daemon.socket), "application", workspaces, options)


@pytest.fixture(params=["local", "process", "docker"])
def executor(request, tmp_path):
    workspaces = Workspaces(tmp_path)
    if request.param == "docker":
        return docker(workspaces, request.getfixturevalue("docker_daemon"))
    return {"local": local, "process": process}[request.param](workspaces)


@asynccontextmanager
async def asked(executor, message, **options):
    app = Application(executor, **options)
    async with serving(app):
        client = await app.client("alice")
        ack = await client.emit("chat:send", {"team_id": app.team_id, "message": message})
        yield client, ack


async def test_an_answer_is_told_and_kept(executor):
    async with asked(executor, "echo Grüß\n👋") as (client, _):
        with trio.fail_after(10):
            done = await client.wait_for("chat:done")
    assert done["result"]["value"] == "Grüß\n👋"


async def test_a_failure_is_told_with_its_cause(executor):
    async with asked(executor, "fail") as (client, _):
        with trio.fail_after(10):
            error = await client.wait_for("chat:error")
    assert (error["type"], error["error"]) == ("model", "The model has no key.")


async def test_a_cancelled_run_ends_soon_with_what_it_said(executor):
    async with asked(executor, "wait") as (client, ack):
        with trio.fail_after(10):
            await client.wait_for("chat:chunk")
            began = trio.current_time()
            await client.emit("chat:cancel", {"subtask_id": ack["assistant_subtask_id"]})
            await client.wait_for("chat:cancelled")
        assert trio.current_time() - began < 1
        assert processes_with(MARK) == []


async def test_output_without_end_is_ended_at_the_limit_of_a_stream(tmp_path):
    options = ProcessOptions(commands={"Chat": program("without_end")}, environment=ENVIRONMENT)
    executor = ProcessExecutor(Workspaces(tmp_path), options)
    async with asked(executor, "go", run_limits=RunLimits(max_stream=300_000)) as (client, _):
        with trio.fail_after(10):
            error = await client.wait_for("chat:error")
    assert error["type"] == "output_limit"
    assert processes_with(MARK) == []
