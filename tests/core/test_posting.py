"""Text that is posted to a shared log: joined while an answer is awaited, appended once whatever the answer is."""

import random

import pytest
import trio

from wegent.fanout.holding import HoldingLog
from wegent.fanout.memory import MemoryFanout, MemoryStreamLog
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor, block, say, think
from wegent.testing.shared_log import SharedMemoryLog
from wegent.testing.viewer import Viewer


class Answering(SharedMemoryLog):
    """Answers by `fate`: whether a text is taken, and whether that is said."""

    def __init__(self, timers, fate):
        super().__init__(MemoryStreamLog(timers), MemoryFanout(), timers)
        self.fate = fate
        self.posted = []
        self.appended = 0

    async def append(self, stream, entries):
        self.appended += 1
        await super().append(stream, entries)

    def post_text(self, replica, channel, text, done):
        self.posted.append(text)
        taken, good = self.fate()
        if taken:
            return super().post_text(replica, channel, text, lambda _: done(good))
        self._timers.after(0.002, lambda: done(False))
        return True


class Worker(Application):
    def __init__(self, executor, fate):
        self.fate = fate
        super().__init__(executor)

    def make_log(self):
        self.answering = Answering(self.timers, self.fate)
        return HoldingLog(self.answering, self.timers)


async def told(script, fate):
    """What a run of that script leaves in its row, what its viewer holds, and the log."""
    async with serving(Worker(ScriptedExecutor(default=script), fate)) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        viewer = Viewer(alice, ack["task_id"])
        row = await app.until_ended(ack["assistant_subtask_id"])
        await trio.sleep(1)
        assert row.status == "COMPLETED"
        assert not viewer.problems
        assert viewer.view.messages[row.id].content.value == row.content
        return row, app.answering


async def test_what_is_said_while_an_answer_is_awaited_leaves_together(autojump_clock):
    row, log = await told([say(f"{k},") for k in range(300)], lambda: (True, True))
    assert row.content == "".join(f"{k}," for k in range(300))
    assert 1 <= len(log.posted) < 100
    assert log.appended == 1  # the first, which sees whether the stream was there before


@pytest.mark.parametrize("seed", range(40))
async def test_text_is_there_once_whether_it_was_taken_and_whatever_was_answered(autojump_clock, seed):
    rng = random.Random(seed)
    script, content, thinking = [], "", ""
    for k in range(60):
        kind = rng.choice(["say", "say", "say", "think", "block"])
        text = rng.choice(["é", "🚀", "word "]) * rng.randint(1, 3)
        if kind == "block":
            script.append(block(str(k), tool_name="x", status="done"))
        elif kind == "think":
            script.append(think(text))
            thinking += text
        else:
            script.append(say(text))
            content += text

    def fate():
        taken = rng.random() < 0.7
        return taken, taken and rng.random() < 0.7

    row, log = await told(script, fate)
    assert (row.content, row.thinking) == (content, thinking)
    assert log.posted
