"""`python -m wegent.runner`, as a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

JOB = {"task_id": 1, "subtask_id": 2, "attempt": 1, "prompt": "wait"}
AGENTS = """
import os, subprocess, sys, time
import trio
from wegent.core.errors import RunFailed

async def patient(job, sink):
    try:
        await sink.text("up")
        await trio.sleep_forever()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await sink.text("bye")
        raise

async def loud(job, sink):
    print("printed")
    os.write(1, b"written")
    subprocess.run(["echo", "a child's"])
    print(sys.stdin.read())
    await sink.text("said")

async def odd(job, sink):
    await sink.text("half \\ud83d")
    await sink.text("")
    await sink.block({"id": "b", "tool_name": "t", "tool_input": float("nan"), "status": "done"})

async def huge(job, sink):
    await sink.block({"id": "b", "tool_name": "t", "tool_input": ["x" * 100_000] * 20})

async def hungry(job, sink):
    raise ExceptionGroup("both", [ValueError("a secret"), MemoryError()])

async def broken(job, sink):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)

async def fail():
    raise ValueError("a secret")

not_callable = 3
"""


@contextmanager
def runner(tmp_path, reference):
    (tmp_path / "agents_for_test.py").write_text(AGENTS)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "wegent.runner", reference],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process, **message):
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def said(tmp_path, reference):
    """All that an agent says of a job, and its log."""
    with runner(tmp_path, reference) as process:
        out, err = process.communicate(json.dumps({"type": "start", "job": JOB}).encode() + b"\n")
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()], err.decode()


@pytest.mark.parametrize("how", ["cancel", "sigterm"])
def test_cancel_and_sigterm_reach_the_agent_as_cancelled(tmp_path, how):
    with runner(tmp_path, "agents_for_test:patient") as process:
        tell(process, type="start", job=JOB)
        assert json.loads(process.stdout.readline())["content"] == "up"
        if how == "cancel":
            tell(process, type="cancel")
        else:
            process.send_signal(signal.SIGTERM)
        assert json.loads(process.stdout.readline())["content"] == "bye"
        ending = json.loads(process.stdout.readline())
        assert (ending["type"], ending.get("error_type")) == ("error", None if how == "cancel" else "killed")
        assert process.stdout.readline() == b""
        assert process.wait(5) == (0 if how == "cancel" else 128 + signal.SIGTERM)


def test_what_an_agent_and_its_children_print_goes_to_the_log(tmp_path):
    messages, log = said(tmp_path, "agents_for_test:loud")
    assert messages == [{"type": "chunk", "content": "said"}, {"type": "done"}]
    assert {"printed", "written", "a child's"} <= set(log.replace("written", "written\n").split("\n"))


def test_what_is_not_quite_json_is_said_as_near_as_can_be(tmp_path):
    messages, _ = said(tmp_path, "agents_for_test:odd")
    assert messages[0]["content"] == "half \ud83d"
    assert "tool_input" in messages[1]
    assert messages[1]["tool_input"] is None
    assert messages[2] == {"type": "done"}


def test_a_message_that_is_too_long_for_a_line_fails_the_run_clearly(tmp_path):
    messages, _ = said(tmp_path, "agents_for_test:huge")
    assert [m["type"] for m in messages] == ["error"]
    assert "1,000,000" in messages[0]["message"]


def test_running_out_of_memory_has_its_type(tmp_path):
    messages, _ = said(tmp_path, "agents_for_test:hungry")
    assert messages[-1]["error_type"] == "out_of_memory"


def test_an_unforeseen_error_is_named_and_told_whole_in_the_log_only(tmp_path):
    messages, log = said(tmp_path, "agents_for_test:broken")
    assert "ValueError" in messages[-1]["message"]
    assert "secret" not in messages[-1]["message"]
    assert "a secret" in log


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_such_module:run", "No module named"),
        ("agents_for_test:nothing", "nothing"),
        ("agents_for_test:not_callable", "no function"),
        ("agents_for_test", "module:function"),
    ],
)
def test_an_agent_that_cannot_be_had_is_an_error_that_says_why(tmp_path, reference, says):
    messages, _ = said(tmp_path, reference)
    assert messages[0]["type"] == "error"
    assert says in messages[0]["message"]


def test_without_a_job_it_says_so(tmp_path):
    with runner(tmp_path, "agents_for_test:patient") as process:
        out, _ = process.communicate(b"")
    assert "No job" in json.loads(out)["message"]


def test_it_needs_only_trio_and_this_packages_runner_and_core():
    """A container needs no more than that: trio and what trio needs, `wegent/runner`, and of `wegent/core` a few."""
    code = (
        "import sys, trio; before = set(sys.modules)\n"
        "import wegent.runner.__main__, wegent.runner.command, wegent.testing.contract_agent\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    ours = {name for name in loaded if name.startswith("wegent.")}
    others = {name.split(".")[0] for name in loaded} - {"wegent"}
    assert others <= sys.stdlib_module_names
    assert {name for name in ours if not name.startswith(("wegent.runner", "wegent.testing"))} == {
        "wegent.core", "wegent.core.errors", "wegent.core.failure", "wegent.core.model", "wegent.core.ports",
        "wegent.core.ports.executor", "wegent.core.text",
    }  # fmt: skip
