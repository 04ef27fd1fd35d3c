"""What every executor that runs agents must do, as tests: subclass `ExecutorContract` as `Test…`.

    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        async def executor(self): ...               # serves the shell type CONTRACT with `AGENT`

        async def left(self, task_id): ...          # what is there of a task that should not be

The tests are Trio's, for pytest-trio in its Trio mode, on a real clock.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor
from wegent.testing.checkpoints import Cut, at_every_checkpoint
from wegent.testing.jobs import make_job
from wegent.testing.sinks import MemorySink

CONTRACT = "Contract"
"""The shell type of the contract's agent."""
AGENT = "wegent.testing.contract_agent:run"
SOON_S = 1.0
"""How soon a run has ended that was cancelled and does not resist."""

_numbers = itertools.count(os.getpid() * 1_000)


def contract_job(prompt: str, shell_type: str = CONTRACT) -> Job:
    """A job of a task that no other test has."""
    return make_job(prompt, shell_type=shell_type, task_id=next(_numbers))


class ContractSink(MemorySink):
    """Answers one skill, and refuses another."""

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Record it; the action `refuse` fails."""
        await super().skill(skill_name, action, data)
        if action == "refuse":
            raise RunFailed("Nobody is there.", type="timeout")
        return {"city": "Zürich"}

    @property
    def entries(self) -> list[tuple[str, Any]]:
        """What was said: neighbouring text in one, blocks as they stand after each change."""
        entries: list[tuple[str, Any]] = []
        blocks: dict[str, dict[str, Any]] = {}
        for name, argument in self.calls:
            if name in ("text", "thinking") and entries and entries[-1][0] == name:
                argument = entries.pop()[1] + argument
            elif name == "block":
                argument = {**blocks.get(argument["id"], {}), **argument}
                blocks[argument["id"]] = argument
            entries.append((name, argument))
        return entries


_BLOCK = {"id": "t", "tool_name": "search", "tool_input": {"q": "日本"}, "status": "streaming"}
EVERYTHING: list[tuple[str, Any]] = [
    ("thinking", "Let me see. "),
    ("text", "Grüß 👋🏽 "),
    ("block", _BLOCK),
    ("progress", (40, "almost half")),
    ("block", {**_BLOCK, "tool_output": ["found"], "status": "done"}),
    ("app", {"name": "site", "address": "127.0.0.1:3000", "previewUrl": "http://127.0.0.1:3000/"}),
    ("skill", ("place", "where", {"exact": True})),
    ("text", "You are in Zürich."),
    ("skill", ("place", "refuse", {})),
    ("text", " Nobody answered."),
    ("progress", (100, None)),
]


class ExecutorContract:
    """See the module. `every`: of the checkpoints of a slow executor's run, it is cut at each so manieth."""

    every: int = 1

    async def left(self, task_id: int) -> list[str]:
        """What is left of a task's run that has ended: processes, containers, files of no use."""
        await trio.lowlevel.checkpoint()
        return []

    async def run(self, executor: Executor, job: Job, sink: MemorySink) -> Outcome:
        """Run a job, and see that nothing is left of it."""
        try:
            return await executor.run(job, sink)
        finally:
            with trio.CancelScope(shield=True):
                assert await self.left(job.task_id) == []

    async def test_everything_that_can_be_said_is_said_in_order(self, executor: Executor) -> None:
        sink = ContractSink()
        outcome = await self.run(executor, contract_job("everything"), sink)
        assert sink.entries == EVERYTHING
        assert outcome.result == {"workbench": {"files": ["a.txt"]}}

    async def test_text_arrives_whole_whatever_it_holds(self, executor: Executor) -> None:
        text = '{"type": "done"}\n\r\n\t\\ "quoted" \u2028 ' + "👩🏽‍🚀é漢" * 9_000 + "\n" * 100 + "end"
        sink = ContractSink()
        await self.run(executor, contract_job(f"echo {text}"), sink)
        assert sink.content == text

    async def test_what_an_agent_prints_does_not_disturb(self, executor: Executor) -> None:
        sink = ContractSink()
        await self.run(executor, contract_job("print not a message"), sink)
        assert sink.entries == [("text", "printed")]

    async def test_a_failure_names_its_cause_and_keeps_what_was_said(self, executor: Executor) -> None:
        sink = ContractSink()
        with pytest.raises(RunFailed, match=r"^The model has no key\.$") as caught:
            await self.run(executor, contract_job("fail"), sink)
        assert caught.value.type == "model"
        assert sink.content == "before"

    async def test_an_agent_that_crashes_fails_its_run(self, executor: Executor) -> None:
        sink = ContractSink()
        with pytest.raises(Exception) as caught:  # noqa: PT011 - its own error, or one that tells of it
            await self.run(executor, contract_job("crash a secret"), sink)
        assert not isinstance(caught.value, RunFailed) or "secret" not in caught.value.sentence
        assert sink.content == "before"

    async def test_a_task_finds_its_files_again_and_no_others(self, executor: Executor) -> None:
        job = contract_job("file one")
        for expected in ("nothing", "one"):
            sink = ContractSink()
            await self.run(executor, job, sink)
            assert sink.content == expected
        sink = ContractSink()
        await self.run(executor, contract_job("file two"), sink)
        assert sink.content == "nothing"

    async def test_an_unknown_shell_type_is_refused_with_what_there_is(self, executor: Executor) -> None:
        with pytest.raises(RunFailed, match=CONTRACT) as caught:
            await self.run(executor, contract_job("x", "Nonesuch"), ContractSink())
        assert "Nonesuch" in caught.value.sentence

    async def test_a_cancelled_run_ends_soon(self, executor: Executor) -> None:
        job, sink = contract_job("wait"), ContractSink()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run, executor, job, sink)
            await sink.wait_for("waiting")
            cancelled = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - cancelled < SOON_S

    async def test_runs_side_by_side_keep_their_words_apart(self, executor: Executor) -> None:
        sinks = [ContractSink() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for number, sink in enumerate(sinks):
                nursery.start_soon(self.run, executor, contract_job(f"echo {number}"), sink)
        assert [sink.content for sink in sinks] == ["0", "1", "2"]

    async def test_a_run_that_waits_for_the_sink_can_be_cancelled(self, executor: Executor) -> None:
        job, sink = contract_job("everything"), ContractSink()
        sink.hold()
        with trio.move_on_after(0.5) as scope:
            await self.run(executor, job, sink)
        assert scope.cancelled_caught
        assert sink.calls == []

    async def test_cancelled_at_any_checkpoint_it_leaves_nothing(self, executor: Executor) -> None:
        async def attempt(cut: Cut) -> None:
            if cut.nth % self.every:
                cut.done = True  # this one is left out
                return
            job, sink = contract_job("echo a\nb\n"), ContractSink()
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await executor.run(job, sink)
            assert await self.left(job.task_id) == []
            assert "a\nb\n".startswith(sink.content)
            if not scope.cancelled_caught:
                assert sink.content == "a\nb\n"

        assert await at_every_checkpoint(attempt) > 0
