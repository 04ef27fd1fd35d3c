"""What a run says in plain steps: the same text in the same order as what it waits for."""

import logging

import pytest
import trio

from wegent.core.model import Outcome
from wegent.core.ports.executor import Executor
from wegent.core.runs import RunLimits
from wegent.testing.chaos import DistantLog
from wegent.testing.harness import Application, serving
from wegent.testing.viewer import Viewer


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Calls(Executor):
    """An executor made of one function."""

    def __init__(self, call):
        self.call = call

    async def run(self, job, sink):
        await self.call(sink)
        return Outcome()


class Distant(Application):
    """An application whose log is somewhere else."""

    def make_log(self):
        return DistantLog(self.timers, trio.lowlevel.checkpoint)


async def ran(call, kind=Application, **options):
    """The row that a run leaves; its viewer holds the same."""
    async with serving(kind(Calls(call), **options)) as app:
        alice = await app.client("alice")
        viewer = Viewer(alice, 1)
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        row = await app.until_ended(ack["assistant_subtask_id"])
        await trio.sleep(1)
        assert not viewer.problems
        assert viewer.view.messages[row.id].content.value == row.content
        return row


async def test_text_is_told_at_once_clean_and_in_order(autojump_clock):
    async def call(sink):
        for delta in ("a\0", "\ud83d", "\ude00", "", "é"):
            assert sink.text_now(delta)
        assert sink.thinking_now("hm")
        await sink.block({"id": "b", "tool_name": "x"})
        if not sink.text_now("c"):  # the block is still to be appended
            await sink.text("c")
        await sink.flush()
        assert sink.text_now("d\ud83d")

    row = await ran(call)
    assert row.content == "a\ufffd😀écd\ufffd"
    assert row.values[0]["at"] == 4


async def test_nothing_is_taken_past_the_limit_but_what_waiting_would_take(autojump_clock):
    async def call(sink):
        assert sink.text_now("x" * 90)
        assert not sink.text_now("y" * 20)
        await sink.text("y" * 20)

    row = await ran(call, run_limits=RunLimits(max_stream=100))
    assert (row.status, row.content) == ("FAILED", "x" * 90 + "y" * 10)


async def test_a_log_that_is_far_away_is_waited_for(autojump_clock):
    async def call(sink):
        assert not sink.text_now("never")
        await sink.text("hi")

    assert (await ran(call, Distant)).content == "hi"


async def test_a_closed_sink_takes_nothing(autojump_clock):
    async def call(sink):
        assert sink.text_now("said")
        sink.close()
        assert not sink.text_now("never")

    assert (await ran(call)).content == "said"
