"""What a run says elsewhere reaches the server whole, whatever becomes of its reports; by the server's own rules."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.report_server import Server
from wegent.client import reporting
from wegent.client.reporting import PATIENCE_S, UNSENT, Reporter
from wegent.codec import encode
from wegent.core.clock import VirtualClock
from wegent.core.errors import OffsetMismatch, RunFailed
from wegent.core.model import CONTENT, THINKING, Ending, EndingStatus
from wegent.core.text import clean

COMPLETED = Ending(EndingStatus.COMPLETED, result={"workbench": {"made": 1}})


def body(report):
    ending = report.ending
    return encode(
        {
            "subtask_id": 2,
            "attempt": 1,
            "lease": "lease",
            "events": report.events,
            **({"status": ending.status.value, "result": ending.result} if ending else {}),
        }
    )


def deliver(reporter, server):
    report = reporter.report()
    try:
        reporter.delivered(report, server.take(body(report)))
    except OffsetMismatch as error:
        reporter.resume(error.channel, error.offset)


def finish(reporter, server, ending=COMPLETED):
    reporter.end(ending)
    for _ in range(200):
        if reporter.done:
            return
        deliver(reporter, server)
    raise AssertionError("the ending does not arrive")


async def until_idle(reporter, server):
    while reporter.unsent:
        deliver(reporter, server)
        await trio.lowlevel.checkpoint()


TEXTS = st.lists(st.sampled_from("ab\ufffd\u00e9\0\U0001f600\ud83d\udc4b"), max_size=6).map("".join)
SAID = st.one_of(
    st.tuples(st.just("text"), TEXTS),
    st.tuples(st.just("thinking"), TEXTS),
    st.tuples(st.just("block"), st.sampled_from("xyz"), st.sampled_from(["pending", "streaming", "done"]), TEXTS),
    st.tuples(st.just("progress"), st.integers(0, 100)),
    st.tuples(st.just("app"), st.sampled_from("pq")),
)
NETWORK = st.sampled_from(
    ["delivered", "delivered", "lost", "unanswered", "late", "arrives", "arrives last", "saved", "killed"]
).map(lambda what: (what,))


class World:
    """An agent, its reporter, a bad network, and a server that gets killed."""

    def __init__(self):
        self.server = Server()
        self.reporter = Reporter(VirtualClock())
        self.late = []
        self.written = {CONTENT: [], THINKING: []}
        self.last = {}

    async def step(self, what, *args):
        match what:
            case "text" | "thinking":
                self.written[CONTENT if what == "text" else THINKING].append(args[0])
                await getattr(self.reporter, what)(args[0])
            case "block":
                block_id, status, output = args
                await self.reporter.block({"id": block_id, "tool_name": "t", "status": status, "tool_output": output})
            case "progress":
                await self.reporter.progress(args[0])
            case "app":
                await self.reporter.app({"name": args[0], "address": "a", "previewUrl": "b"})
            case "delivered":
                deliver(self.reporter, self.server)
            case "lost" | "unanswered" | "late":
                self.send_badly(what)
            case "arrives" | "arrives last":
                if self.late:
                    self.arrive(self.late.pop(0 if what == "arrives" else -1))
            case "saved":
                self.server.save()
            case "killed":
                self.server.restart()

    def send_badly(self, what):
        sent = body(self.reporter.report())
        if what == "unanswered":
            self.arrive(sent)
        elif what == "late":
            self.late.append(sent)
        self.reporter.again()

    def arrive(self, sent):
        try:
            self.server.take(sent)
        except OffsetMismatch:
            return


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(st.one_of(SAID, NETWORK), max_size=40))
def test_whatever_becomes_of_reports_the_server_has_what_the_agent_wrote(steps):
    """Lost, unanswered, repeated, late; and a server that is killed and has saved only what was there a while ago."""

    async def main():
        world = World()
        for step in steps:
            await world.step(*step)
            for channel, parts in world.written.items():
                assert clean("".join(parts)).startswith(world.server.replica.text(channel).rstrip("\ufffd"))
        finish(world.reporter, world.server)
        for channel, parts in world.written.items():
            assert world.server.replica.text(channel) == clean("".join(parts))
        assert world.server.ending == COMPLETED
        told = [value.data for _, value in sorted(world.reporter._values.newest.items())]
        kept = ("version", "timestamp")
        assert world.server.values() == [{n: item for n, item in data.items() if n not in kept} for data in told]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_server_that_lost_what_it_had_is_never_told_an_ending_that_is_short():
    """Nothing of the text is new when the run ends: only the length in the report tells."""
    server, reporter = Server(), Reporter(VirtualClock())
    await reporter.text("abcdef")
    await reporter.thinking("hm")
    deliver(reporter, server)
    server.restart()
    finish(reporter, server)
    assert (server.replica.text(), server.replica.text(THINKING)) == ("abcdef", "hm")


async def test_deltas_that_come_meanwhile_are_one_event_of_the_next_report():
    server, reporter = Server(), Reporter(VirtualClock())
    for _ in range(1_000):
        await reporter.text("ab")
    report = reporter.report()
    assert [event.content for event in report.events] == ["ab" * 1_000]
    await reporter.text("more")
    reporter.delivered(report, server.take(body(report)))
    assert [(event.content, event.offset) for event in reporter.report().events] == [("more", 2_000)]


async def test_a_block_comes_behind_the_text_before_it_and_not_before_the_text_is_there():
    server, reporter = Server(), Reporter(VirtualClock())
    await reporter.text("x" * 100_000)
    await reporter.block({"id": "b", "tool_name": "t"})
    deliver(reporter, server)
    assert server.values() == []
    deliver(reporter, server)
    assert [value["at"] for value in server.values()] == [100_000]


@pytest.mark.parametrize("filling", ["\0", "\x01", '"', "字", "\U0001f600"])
async def test_no_report_is_larger_than_a_payload(filling):
    server, reporter = Server(), Reporter(VirtualClock(), max_stream=10_000_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_ended, reporter, server)
        await reporter.text(filling * 200_000)
        await reporter.thinking(filling * 200_000)
        for number in range(20):
            await reporter.block({"id": f"b{number}", "tool_name": "t", "tool_output": filling * 90_000})
        await reporter.block({"id": "large", "tool_name": "t", "tool_output": [filling * 90_000] * 9})
        reporter.end(Ending(EndingStatus.COMPLETED, result={"workbench": {"made": filling * 100_000}}))
    assert server.replica.text() == clean(filling) * 200_000
    assert len(server.values()) == 21
    assert server.ending.result["workbench"]["made"]


async def until_ended(reporter, server):
    while not reporter.done:
        await reporter.news()
        deliver(reporter, server)


async def test_an_agent_waits_while_the_server_lacks_too_much_and_goes_on_when_it_has_it(autojump_clock):
    server, reporter = Server(), Reporter(VirtualClock())
    said = trio.Event()

    async def agent():
        await reporter.text("x" * (UNSENT + 1))
        said.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent)
        with trio.move_on_after(60) as waiting:
            await said.wait()
        assert waiting.cancelled_caught
        await until_idle(reporter, server)
        await said.wait()


async def test_a_waiting_agent_is_let_go_when_its_run_has_an_ending(autojump_clock):
    reporter = Reporter(VirtualClock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reporter.text, "x" * (UNSENT + 1))
        await trio.sleep(1)
        reporter.end(Ending(EndingStatus.CANCELLED))


async def test_more_than_a_stream_may_have_is_a_failure_whatever_the_agent_makes_of_it():
    server, reporter = Server(), Reporter(VirtualClock(), max_stream=10)
    with pytest.raises(RunFailed) as caught:
        await reporter.text("x" * 11)
    assert caught.value.type == "output_limit"
    finish(reporter, server)
    assert (server.replica.text(), server.ending.status) == ("x" * 10, EndingStatus.FAILED)


async def test_a_result_that_no_report_can_hold_is_a_failure():
    server, reporter = Server(), Reporter(VirtualClock())
    finish(reporter, server, Ending(EndingStatus.COMPLETED, result={"workbench": {"made": ["x" * 90_000] * 12}}))
    assert server.ending.status is EndingStatus.FAILED


async def test_a_server_that_has_what_the_run_never_said_is_refused():
    reporter = Reporter(VirtualClock())
    await reporter.text("abc")
    with pytest.raises(RunFailed):
        reporter.resume(CONTENT, 4)


async def test_a_skill_is_asked_until_it_is_answered(autojump_clock):
    """By a server that was killed in between, too; the answer is acknowledged once."""
    server, reporter = Server(), Reporter(VirtualClock())
    answers = []

    async def agent():
        await reporter.text("look:")
        answers.append(await reporter.skill("draw", "show", {"n": 1}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent)
        await reporter.news()
        await trio.testing.wait_all_tasks_blocked()
        deliver(reporter, server)
        (asked,) = server.asked.values()
        assert (asked.skill_name, asked.action, asked.data) == ("draw", "show", {"n": 1})
        server.save()
        server.restart()
        deliver(reporter, server)
        assert not server.asked
        await trio.sleep(reporting.ASK_AGAIN_S)
        deliver(reporter, server)
        reporter.answer(next(iter(server.asked)), success=True, result={"ok": True})
    assert answers == [{"ok": True}]
    assert (reporter.received(), reporter.received()) == (("1",), ())


async def test_a_skill_that_nobody_answers_fails(autojump_clock):
    reporter = Reporter(VirtualClock())
    started = trio.current_time()
    with pytest.raises(RunFailed):
        await reporter.skill("draw", "show", {})
    assert trio.current_time() - started == PATIENCE_S
