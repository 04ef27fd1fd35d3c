"""The engine `offline`: what it answers, how it is paced, and that it says what it is not."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
import trio.lowlevel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wegent.core.errors import RunFailed
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.engines.offline_answers import compose
from wegent.engines.offline_directives import _DIRECTIVES
from wegent.engines.offline_steps import Message, Pause, Say, Step, Think
from wegent.engines.offline_topics import TOPICS
from wegent.engines.pace import Metronome
from wegent.protocol.chat_shell import Features, ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.server.ports.engine import Completion
from wegent.testing.sinks import MemorySink

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def request_for(*asked: Any, deep_thinking: bool = True, **model: Any) -> ResponseRequest:
    return ResponseRequest(
        model_config=ModelConfig(model_id="offline", **model),
        messages=tuple(ModelMessage(role="user", content=content) for content in asked),
        features=Features(deep_thinking=deep_thinking),
        metadata=ResponseMetadata(request_id="r1"),
    )


async def answer_to(*asked: Any, pace: float = 0, **model: Any) -> tuple[MemorySink, Completion]:
    sink = MemorySink()
    completion = await OfflineEngine(OfflineConfig(tokens_per_s=pace)).run(request_for(*asked, **model), sink)
    return sink, completion


async def test_it_says_that_it_is_no_model() -> None:
    sink, completion = await answer_to("Good morning")
    assert "I am no model" in sink.content
    assert completion.model == "offline"


async def test_an_answer_has_thinking_a_quote_a_list_code_and_a_tool() -> None:
    sink, completion = await answer_to("How many words are there in this question, would you say?")
    assert sink.reasoning.startswith("11 words, a question.")
    assert "> How many words" in sink.content
    assert "- **11 words**" in sink.content
    assert "```python" in sink.content
    statuses = [block["status"] for block in sink.blocks]
    assert statuses[0] == "pending"
    assert statuses[-1] == "done"
    assert set(statuses[1:-1]) == {"streaming"}
    assert sink.blocks[-1]["tool_output"]["words"] == 11
    assert completion.stop_reason == "stop"
    assert completion.usage["prompt_tokens"] == 11


async def test_a_tool_stands_between_what_was_said_before_and_after_it() -> None:
    sink, _ = await answer_to("Count me")
    kinds = [name for name, _ in sink.calls]
    first, last = kinds.index("block"), len(kinds) - kinds[::-1].index("block")
    assert "text" in kinds[:first]
    assert "text" in kinds[last:]


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What is a room?", "Rooms"),
        ("how do I add a model", "Adding a model"),
        ("What does an executor do?", "Executors"),
        ("what happens when I reload?", "Recovery"),
        ("What is Wegent?", "What Wegent is"),
    ],
)
async def test_a_question_about_wegent_is_answered_from_the_notes(question: str, title: str) -> None:
    sink, _ = await answer_to(question)
    assert f"### {title}" in sink.content


async def test_it_introduces_itself_once() -> None:
    sink, _ = await answer_to("Hello", "And again")
    assert "I am no model" not in sink.content


async def test_help_names_every_directive_and_topic() -> None:
    sink, _ = await answer_to("/help")
    assert all(f"`{directive.usage}`" in sink.content for directive in _DIRECTIVES.values())
    assert all(topic.title in sink.content for topic in TOPICS)


@pytest.mark.parametrize(("call", "count"), [("/long 7", 7), ("/long", 500), ("@Assistant /LONG 250", 250)])
async def test_long_gives_so_many_words_and_no_word_twice(call: str, count: int) -> None:
    sink, _ = await answer_to(call)
    words = sink.content.split()
    assert len(words) == len(set(words)) == count


async def test_error_fails_behind_its_text() -> None:
    sink = MemorySink()
    with pytest.raises(RunFailed) as caught:
        await OfflineEngine(OfflineConfig(tokens_per_s=0)).run(request_for("/error"), sink)
    assert caught.value.type == "model"
    assert sink.content.startswith("This sentence is kept")


async def test_echo_gives_the_text_back_unchanged() -> None:
    text = "👩‍👩‍👧‍👦 e\u0301\n  漢字   🇫🇷"
    sink, _ = await answer_to("/echo " + text)
    assert sink.content == text


async def test_emoji_are_split_and_arrive_whole() -> None:
    sink, _ = await answer_to("/emoji", pace=1000)
    assert "👨‍👩‍👧‍👦" in sink.content
    assert "e\u0301" in sink.content


async def test_tools_fail_and_work() -> None:
    sink, _ = await answer_to("/tools")
    last = {block["id"]: block["status"] for block in sink.blocks}
    assert last == {"tool-1": "error", "tool-2": "done", "tool-3": "done"}


async def test_progress_is_told_to_the_end(autojump_clock: trio.testing.MockClock) -> None:
    sink, _ = await answer_to("/progress")
    told = [argument[0] for name, argument in sink.calls if name == "progress"]
    assert told == list(range(0, 101, 10))


async def test_an_unknown_directive_lists_the_known_ones() -> None:
    sink, _ = await answer_to("/dance")
    assert "no `/dance`" in sink.content
    assert "/long N" in sink.content


async def test_parts_of_a_message_are_read() -> None:
    sink, _ = await answer_to([{"type": "text", "text": "/echo hi"}, {"type": "image"}, 7])
    assert sink.content == "hi"


async def test_no_message_at_all_is_answered_too() -> None:
    sink, _ = await answer_to()
    assert "0 words" in sink.content


async def test_thinking_is_left_out_where_it_is_not_wanted() -> None:
    sink = MemorySink()
    await OfflineEngine(OfflineConfig(tokens_per_s=0)).run(request_for("Hello", deep_thinking=False), sink)
    assert sink.reasoning == ""


async def test_an_answer_is_cut_at_the_most_tokens() -> None:
    sink, completion = await answer_to("/long 1000", max_output_tokens=10)
    assert completion.stop_reason == "length"
    assert completion.usage["completion_tokens"] == 10
    assert 0 < len(sink.content.split()) <= 10


@pytest.mark.parametrize("pace", [5, 60, 3000])
async def test_the_pace_is_kept_with_few_writes(pace: int, autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    sink, completion = await answer_to("/long 200", pace=pace)
    took = trio.current_time() - start
    said = completion.usage["completion_tokens"]
    assert took == pytest.approx(said / pace, rel=0.15, abs=0.1)
    assert len(sink.calls) <= took * 25 + 5


async def test_many_answers_share_one_timer(autojump_clock: trio.testing.MockClock) -> None:
    engine = OfflineEngine(OfflineConfig(tokens_per_s=50))
    sinks = [MemorySink() for _ in range(20)]
    async with trio.open_nursery() as nursery:
        for sink in sinks:
            nursery.start_soon(engine.run, request_for("/long 50"), sink)
    assert len({sink.content for sink in sinks}) == 1


async def test_others_go_on_when_the_one_that_keeps_the_time_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    metronome, done = Metronome(0.1), 0

    async def follow() -> None:
        nonlocal done
        for _ in range(5):
            await metronome.beat()
        done += 1

    async def lead(scope: trio.CancelScope) -> None:
        with scope:
            await metronome.beat()

    async with trio.open_nursery() as nursery:
        leader = trio.CancelScope()
        nursery.start_soon(lead, leader)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        leader.cancel()
    assert done == 3


@unhurried
@given(st.text(max_size=300), st.integers(0, 2))
def test_any_message_is_answered_always_alike(text: str, earlier: int) -> None:
    steps = list(bounded(text, earlier))
    assert steps == list(bounded(text, earlier))
    assert any(isinstance(step, Say) for step in steps)
    for step in steps:
        if isinstance(step, Say | Think):
            assert re.search(r"\S", step.text)
        if isinstance(step, Pause):
            assert 0 < step.seconds <= 3600


def bounded(text: str, earlier: int) -> list[Step]:
    steps = compose(Message(text, earlier))
    return [step for step, _ in zip(steps, range(50), strict=False)]
