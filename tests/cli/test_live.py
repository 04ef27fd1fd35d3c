"""What a terminal shows of an answer while it is written, and what stays."""

from __future__ import annotations

import io
import re
import time
from typing import Any

import pytest
import trio
from rich.console import Console

from wegent.cli.live import LiveAnswer, how_it_ended, tool_panel
from wegent.cli.plain import PlainAnswer
from wegent.client.message import Message

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A terminal that is a text."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=True, width=60, height=20, color_system="truecolor")

    @property
    def raw(self) -> str:
        return self.file.getvalue()

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.raw)


def answer(text: str = "", *, thinking: str = "", **fields: Any) -> Message:
    message = Message(2, role="ASSISTANT", status="RUNNING", attempt=1, **fields)
    message.content.set(text)
    message.thinking.set(thinking)
    return message


def block(status: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": "b", "version": 1, "at": at, "status": status, "tool_name": "search", **fields}


async def shown(*states: Message) -> str:
    """What stands on the screen at the end of all."""
    screen = Screen()
    with LiveAnswer(screen.console, "Bot") as live:
        for state in states[:-1]:
            live.show(state)
        live.finish(states[-1])
    return screen.text


async def test_an_answer_that_nobody_has_begun_is_said_to_wait(autojump_clock: trio.testing.MockClock) -> None:
    screen = Screen()
    message = Message(2, role="ASSISTANT", status="PENDING", attempt=1)
    with LiveAnswer(screen.console, "Bot") as live:
        live.show(message)
        assert "waits" not in screen.text
        await trio.sleep(4)
        live.show(message)
        assert "Bot is asked, and waits in the queue" in screen.text


async def test_complete_paragraphs_are_printed_once() -> None:
    screen = Screen()
    message = answer("First paragraph.\n\nSecond")
    with LiveAnswer(screen.console, "Bot") as live:
        for more in (" para", "graph", ".\n\nThird"):
            live.show(message)
            message.content.append(more)
        live.finish(message)
    assert screen.text.count("First paragraph.") == 1
    assert screen.text.count("Second") >= 3
    assert screen.text.index("First") < screen.text.index("Second paragraph.") < screen.text.rindex("Third")


async def test_until_the_first_text_there_is_a_spinner() -> None:
    screen = Screen()
    with LiveAnswer(screen.console, "Bot") as live:
        live.show(None)
        live.show(answer(thinking="hm"))
        live.show(answer("x"))
        live.show(None, "the connection was lost")
    for said in ("Bot is asked", "Bot thinks", "Bot writes", "the connection was lost; trying again", "Ctrl-C"):
        assert said in screen.text


async def test_thinking_comes_dimmed_before_the_text() -> None:
    screen = Screen()
    with LiveAnswer(screen.console, "Bot") as live:
        live.finish(answer("Answer", thinking="Let me see"))
    assert screen.text.index("Let me see") < screen.text.index("Answer")
    assert re.search(r"\x1b\[2;3m[^\x1b]*Let me see", screen.raw)


async def test_a_tool_stands_where_it_was_used() -> None:
    message = answer("Before. After.")
    message.values["block:b"] = block("done", 7, tool_input={"q": "rooms"}, tool_output="found")
    text = await shown(message)
    places = [text.index(said) for said in ("Before.", "search", "q: rooms", "found", "After.")]
    assert places == sorted(places)


async def test_a_tool_that_runs_is_drawn_until_it_is_done() -> None:
    screen = Screen()
    message = answer("Text")
    with LiveAnswer(screen.console, "Bot") as live:
        message.values["block:b"] = block("pending", 4)
        live.show(message)
        assert "… search" in screen.text
        message.values["block:b"] = {**block("done", 4), "version": 2}
        live.show(message)
        before = screen.text.count("✔ search")
        live.show(message)
        live.finish(message)
    assert before == screen.text.count("✔ search") == 1


async def test_a_new_attempt_is_told() -> None:
    text = await shown(answer("Old text"), answer("New text", reason="worker_lost"))
    assert "begins anew" not in text
    newer = answer("New text", reason="worker_lost")
    newer.attempt = 2
    text = await shown(answer("Old text"), newer)
    assert "begins anew (worker lost)" in text


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("FAILED", "The answer failed (model): no such model"),
        ("CANCELLED", "The answer was cancelled."),
        ("COMPLETED", ""),
        ("RUNNING", "The answer is not complete."),
    ],
)
async def test_an_ending_that_is_no_completion_is_told(status: str, said: str) -> None:
    message = answer("Text", error="no such model", error_type="model")
    message.status = status
    assert how_it_ended(message) == said
    assert said in await shown(message)


async def test_nothing_of_a_model_steers_the_terminal() -> None:
    evil = "\x1b]0;title\x07\x1b[2J[bold]x[/bold]\x9b1m"
    message = answer(evil, thinking=evil, error=evil, error_type=evil)
    message.status = "FAILED"
    message.values["block:b"] = block("done", 0, tool_name=evil, tool_input=evil, tool_output={"a": [evil]})
    screen = Screen()
    with LiveAnswer(screen.console, evil) as live:
        live.show(None, evil)
        live.show(message, evil)
        live.finish(message)
    assert "\x1b]" not in screen.raw
    assert "\x1b[2J" not in screen.raw
    assert "\x9b" not in screen.raw


def test_a_tools_output_is_cut() -> None:
    screen = Screen()
    screen.console.print(tool_panel(block("error", tool_output="x" * 100_000)))
    assert "100,000characters" in re.sub(r"[^\w,]", "", screen.text)
    assert len(screen.text) < 3_000


async def test_only_what_fits_is_drawn_again() -> None:
    screen = Screen()
    with LiveAnswer(screen.console, "Bot") as live:
        live.show(answer("\n".join(f"line {number}  " for number in range(100))))
    assert "line 99" in screen.text
    assert "line 50" not in screen.text


async def test_a_frame_costs_the_same_however_long_the_answer_is() -> None:
    screen = Screen()
    message = answer()
    times = []
    with LiveAnswer(screen.console, "Bot") as live:
        for _ in range(60):
            message.content.append("Some **words** of a paragraph that goes on. " * 20 + "\n\n")
            started = time.perf_counter()
            live.show(message)
            times.append(time.perf_counter() - started)
    assert sorted(times[40:])[10] < 5 * sorted(times[:20])[10] + 0.05


async def test_plain_text_is_the_text_and_an_end_of_line(capsys: pytest.CaptureFixture[str]) -> None:
    plain, message = PlainAnswer(), answer("Hé")
    await plain.show(message)
    message.content.append("🙂")
    await plain.show(message)
    await plain.finish(message)
    assert capsys.readouterr().out == "Hé🙂\n"


async def test_plain_text_of_a_new_attempt_begins_on_a_new_line(capsys: pytest.CaptureFixture[str]) -> None:
    plain, newer = PlainAnswer(), answer("new\n")
    newer.attempt = 2
    await plain.show(answer("old"))
    await plain.finish(newer)
    captured = capsys.readouterr()
    assert captured.out == "old\nnew\n"
    assert "begins anew" in captured.err
