"""The server's side of the runner protocol, over streams in memory."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wegent.core.errors import InvalidPayload, RunFailed
from wegent.executors.lines import LineReader
from wegent.executors.runner import Conversation
from wegent.testing.jobs import make_job
from wegent.testing.sinks import MemorySink

JOB = make_job().spec


def line(type_, **fields):
    return json.dumps({"type": type_, **fields}).encode() + b"\n"


class Runner:
    """The other side: what it was told, and a way to say something."""

    def __init__(self, send, receive):
        self.send = send
        self.receive = receive
        self._reader = LineReader(10_000_000)

    async def say(self, *lines):
        await self.send.send_all(b"".join(lines))

    async def end(self):
        await self.send.aclose()

    async def told(self):
        data = b""
        while not data.endswith(b"\n"):
            data += await self.receive.receive_some(1)
        return json.loads(data)


class Refusing(MemorySink):
    """Takes no blocks, and has nobody to ask."""

    async def block(self, block):
        await trio.lowlevel.checkpoint()
        raise InvalidPayload("a block needs an `id`")

    async def skill(self, skill_name, action, data):
        await trio.lowlevel.checkpoint()
        raise RunFailed("nobody is there", type="timeout")


class Talk:
    def __init__(self, sink=None):
        self.sink = sink or MemorySink()
        there, here = trio.testing.memory_stream_one_way_pair()
        to, from_here = trio.testing.memory_stream_one_way_pair()
        self.runner = Runner(there, from_here)
        self.conversation = Conversation(here, to, JOB, self.sink)
        self.outcome = None
        self.error = None
        self.over = trio.Event()

    async def run(self):
        try:
            self.outcome = await self.conversation.run()
        except RunFailed as error:
            self.error = error
        self.over.set()


@asynccontextmanager
async def talking(sink=None):
    talk = Talk(sink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.run)
        yield talk


async def heard(*lines):
    """The talk with a runner that says all of this at once and goes."""
    async with talking() as talk:
        await talk.runner.say(*lines)
        await talk.runner.end()
    return talk


async def refused(*lines):
    talk = await heard(*lines)
    assert talk.error is not None
    assert talk.error.type == "protocol", talk.error
    return talk.error.sentence


async def test_the_first_line_is_the_job():
    async with talking() as talk:
        told = await talk.runner.told()
        await talk.runner.say(line("done"))
    assert told["type"] == "start"
    assert (told["job"]["task_id"], told["job"]["prompt"]) == (1, "Hello")
    assert talk.outcome is not None


async def test_everything_a_runner_can_say_reaches_the_sink_in_order():
    talk = await heard(
        line("thinking", content="hm"),
        line("chunk", content="one"),
        line("block", id="t", tool_name="shell", status="streaming", tool_input={"a": 1}),
        line("progress", progress=40, message="on it"),
        line("app", name="site", address="127.0.0.1:1", previewUrl="http://x"),
        line("heartbeat"),
        line("chunk", content="two"),
        line("done", result={"value": "onetwo three", "workbench": {"a": 1}}),
    )
    assert talk.sink.calls == [
        ("thinking", "hm"),
        ("text", "one"),
        ("block", {"id": "t", "tool_name": "shell", "tool_input": {"a": 1}, "status": "streaming"}),
        ("progress", (40, "on it")),
        ("app", {"name": "site", "address": "127.0.0.1:1", "previewUrl": "http://x"}),
        ("text", "two"),
        ("text", " three"),
    ]
    assert talk.outcome.result == {"workbench": {"a": 1}}


async def test_many_deltas_of_one_read_are_one_text():
    talk = await heard(
        *[line("chunk", content=f"{n} ", offset=len("".join(f"{i} " for i in range(n)))) for n in range(50)]
    )
    assert [name for name, _ in talk.sink.calls] == ["text"]
    assert talk.sink.content.split() == [str(n) for n in range(50)]
    assert talk.outcome is None
    assert talk.error is None


async def test_what_is_said_before_a_fault_is_kept():
    talk = await heard(line("chunk", content="kept"), b"not json\n", line("chunk", content="not heard"))
    assert talk.sink.content == "kept"
    assert talk.error.type == "protocol"
    assert "no message" in talk.error.sentence


@pytest.mark.parametrize(
    "bad",
    [
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b'{"type": "chunk"}\n',
        b'{"type": "chunk", "content": 7}\n',
        b'{"type": "dance"}\n',
        b'{"type": "progress", "progress": 101}\n',
        b'{"type": "skill", "id": "1", "skill_name": "x", "action": "y", "data": 3}\n',
        b'{"type": "chunk", "content": "x", "offset": 4}\n',
        b"[" * 100_000 + b"\n",
        b'{"type": "chunk", "content": "no end',
    ],
)
async def test_a_line_that_is_no_message_ends_the_run_and_says_why(bad):
    assert "runner" in (await refused(bad)).lower()


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_a_line_that_is_too_long_ends_the_run_as_soon_as_it_is(end):
    async with talking() as talk:
        await talk.runner.say(line("chunk", content="kept"), b"x" * 1_000_001 + end)
        await talk.over.wait()
    assert talk.sink.content == "kept"
    assert talk.error.sentence == "The runner sent a line that is too long: a line may have 1,000,000 bytes."


async def test_invalid_utf_8_in_a_message_is_replaced():
    talk = await heard(b'{"type": "chunk", "content": "a\xff\xe2\x82b"}\n', b"\n \r\n", line("done"))
    assert talk.sink.content == "a\ufffd\ufffdb"
    assert talk.outcome is not None


async def test_a_surrogate_pair_split_over_two_chunks_counts_once():
    talk = await heard(
        b'{"type": "chunk", "content": "\\ud83d", "offset": 0}\n',
        b'{"type": "chunk", "content": "\\udc4b"}\n',
        line("chunk", content="!", offset=1),
        line("done", result={"value": "👋!?"}),
    )
    assert talk.error is None
    assert talk.sink.calls[-1] == ("text", "?")


async def test_a_result_that_does_not_begin_with_what_was_said_is_refused():
    assert "begin" in await refused(line("chunk", content="one"), line("done", result={"value": "two"}))
    assert "begin" in await refused(line("chunk", content="one"), line("done", result={"value": "on"}))
    assert "begin" in await refused(line("thinking", content="one"), line("done", result={"thinking": "two"}))


async def test_an_error_ends_the_run_with_its_type_or_internal():
    talk = await heard(line("chunk", content="x"), line("error", message="no key", error_type="model"))
    assert (talk.error.sentence, talk.error.type, talk.sink.content) == ("no key", "model", "x")
    talk = await heard(line("error", message=" ", error_type="whatever"))
    assert talk.error.type == "internal"
    assert talk.error.sentence


async def test_a_skill_is_answered_while_the_runner_goes_on_talking():
    async with talking() as talk:
        talk.sink.answers["weather"] = {"sun": True}
        await talk.runner.told()
        talk.sink.hold()
        await talk.runner.say(line("skill", id="q", skill_name="weather", action="now", data={"city": "Bern"}))
        await trio.testing.wait_all_tasks_blocked()
        talk.sink.release()
        await talk.runner.say(line("chunk", content="meanwhile"))
        assert await talk.runner.told() == {"type": "skill", "id": "q", "success": True, "result": {"sun": True}}
        await talk.runner.say(line("done"))
    assert talk.sink.content == "meanwhile"


async def test_a_skill_that_fails_is_told_and_does_not_end_the_run():
    async with talking(Refusing()) as talk:
        await talk.runner.told()
        await talk.runner.say(line("skill", id="q", skill_name="x", action="y"))
        assert await talk.runner.told() == {"type": "skill", "id": "q", "success": False, "error": "nobody is there"}
        await talk.runner.say(line("done"))
    assert talk.outcome is not None


async def test_skills_that_wait_are_bounded_and_have_ids_of_their_own():
    async with talking() as talk:
        talk.sink.hold()
        await talk.runner.say(*[line("skill", id=str(n), skill_name="x", action="y") for n in range(17)])
    assert "16" in talk.error.sentence
    async with talking() as talk:
        talk.sink.hold()
        await talk.runner.say(*[line("skill", id="q", skill_name="x", action="y")] * 2)
    assert "id" in talk.error.sentence


async def test_nothing_is_read_while_the_sink_has_no_room():
    async with talking() as talk:
        talk.sink.hold()
        await talk.runner.say(line("chunk", content="one"))
        await trio.testing.wait_all_tasks_blocked()
        await talk.runner.say(b"no json\n")
        await trio.testing.wait_all_tasks_blocked()
        assert not talk.over.is_set()
        talk.sink.release()
    assert talk.error.type == "protocol"


async def test_cancel_is_said_once_start_is_whole_and_last_words_are_heard():
    async with talking() as talk:
        await talk.conversation.cancel()
        assert [(await talk.runner.told())["type"] for _ in range(2)] == ["start", "cancel"]
        await talk.runner.say(line("chunk", content="bye"), line("error", message="cancelled"))
    assert talk.sink.content == "bye"


async def test_a_block_that_cannot_be_kept_is_the_runners_fault():
    async with talking(Refusing()) as talk:
        await talk.runner.say(line("block", id="", tool_name="x", status="done"))
    assert talk.error.type == "protocol"
    assert "needs an `id`" in talk.error.sentence


@given(st.lists(st.integers(1, 400), max_size=30), st.text(max_size=40))
def test_however_bytes_arrive_the_same_is_heard(sizes, text):
    lines = [line("chunk", content=text, offset=0), line("thinking", content=text)]
    lines += [line("chunk", content="!"), line("progress", progress=5), line("done", result={"value": f"{text}!?"})]
    data = b"".join(lines)

    async def main():
        async with talking() as talk:
            at = 0
            for size in [*sizes, len(data)]:
                await talk.runner.send.send_all(data[at : at + size])
                await trio.testing.wait_all_tasks_blocked()
                at += size
                if talk.over.is_set():
                    return talk
        return talk

    talk = trio.run(main)
    assert talk.error is None
    assert talk.sink.content == text + "!?"
    assert talk.sink.reasoning == text
