"""The examples of agents do what they say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio

from tests.executors.processes import processes_of
from wegent.core.errors import RunFailed
from wegent.executors.process import ProcessExecutor, ProcessOptions
from wegent.executors.workspace import Workspaces
from wegent.testing.executor_contract import contract_job
from wegent.testing.sinks import MemorySink

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent.js"
GUIDE = Path(__file__).parents[2] / "docs" / "extending" / "runner.md"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node: apt-get install nodejs")


@pytest.fixture
def executor(tmp_path):
    return ProcessExecutor(Workspaces(tmp_path), ProcessOptions(commands={"Node": ("node", str(EXAMPLE))}))


@needs_node
async def test_an_agent_in_node_says_all_it_has_to_say(executor):
    sink = MemorySink()
    sink.answers["clock"] = "noon"

    outcome = await executor.run(contract_job("grüß dich 👋", "Node"), sink)
    assert outcome.result == {"workbench": {"words": 3}}
    assert sink.content == "1. grüß\n2. dich\n3. 👋\nCounted at noon.\n"
    assert sink.reasoning == "ann wants 3 words counted."
    assert [block["status"] for block in sink.blocks] == ["streaming", "done"]
    assert ("progress", (100, None)) in sink.calls
    assert ("skill", ("clock", "now", {})) in sink.calls


@needs_node
async def test_it_says_so_when_nobody_answers(executor):
    class Alone(MemorySink):
        async def skill(self, skill_name, action, data):
            await trio.lowlevel.checkpoint()
            raise RunFailed("nobody", type="timeout")

    sink = Alone()
    await executor.run(contract_job("hi", "Node"), sink)
    assert sink.content.endswith("Nobody told me the time.\n")


@needs_node
async def test_it_stops_when_it_is_told(executor):
    job, sink = contract_job("word " * 10_000, "Node"), MemorySink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, job, sink)
        await sink.wait_for("10. word")
        cancelled = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - cancelled < 1
    assert processes_of(job.task_id) == []


async def test_the_guides_agent_counts(tmp_path, monkeypatch):
    code = GUIDE.read_text().partition("```python")[2].partition("```")[0]
    (tmp_path / "my_agents.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    executor = ProcessExecutor(Workspaces(tmp_path / "w"), ProcessOptions(agents={"Count": "my_agents:count"}))
    sink = MemorySink()
    outcome = await executor.run(contract_job("one two", "Count"), sink)
    assert sink.content == "1. one\n2. two\n"
    assert outcome.result == {"workbench": {"words": 2}}
    with pytest.raises(RunFailed, match="more than I count"):
        await executor.run(contract_job("x " * 101, "Count"), sink)
