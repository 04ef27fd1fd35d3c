"""An answer shown in a terminal while it is written.

What is complete is printed once and scrolls away; only the end that still changes, and tools that still run, are drawn
again with each frame. So a frame costs the same however long the answer is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Self

import trio
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.padding import Padding
from rich.panel import Panel
from rich.segment import Segment
from rich.spinner import Spinner
from rich.syntax import Syntax
from rich.text import Text

from wegent.cli.markdown_feed import CODE, MarkdownFeed, Piece, clean
from wegent.client.message import TERMINAL, Message

FRAME_S = 1 / 15
WAITS_S = 3.0
"""Seconds after which an answer that nobody has begun is said to wait in the queue."""
MOST_OUTPUT = 600
"""Code points of a tool's input or output that are shown."""
CODE_THEME = "ansi_dark"
MARKS = {"done": "[green]✔[/]", "error": "[red]✘[/]"}


class LiveAnswer:
    """Shows one ASSISTANT message, from the first spinner to its ending. A context manager; call `show` on changes."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = clean(name)
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._spinner = Spinner("dots", style="cyan")
        self._since = trio.current_time()
        self._attempt = 0
        self._out: list[RenderableType] = []
        self._begin()

    def _begin(self) -> None:
        self._content, self._thinking = MarkdownFeed(), MarkdownFeed()
        self._content_at = self._thinking_at = 0
        self._shown_blocks: set[str] = set()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw(Group())
        self._live.stop()

    def show(self, message: Message | None, trouble: str | None = None) -> None:
        """Print what is complete, and draw the rest anew; `trouble` says why nothing comes at the moment."""
        if message is not None:
            self._advance(message)
        self._draw(self._moving(message, trouble))

    def finish(self, message: Message) -> None:
        """Print all that is left, and how it ended."""
        self._advance(message)
        self._print_thinking(self._thinking.finish())
        self._print_pieces(self._content.finish())
        self._print_blocks(message, all_of_them=True)
        if ending := how_it_ended(message):
            self._print(Text(ending, style="red" if message.status == "FAILED" else "yellow"))
        self._draw(Group())

    def _draw(self, moving: RenderableType) -> None:
        """One frame: what is complete above, what still changes below, in one write."""
        out, self._out = self._out, []
        self._live.update(moving, refresh=not out)
        if out:
            self._live.console.print(Group(*out), end="")

    # what is complete

    def _advance(self, message: Message) -> None:
        if message.attempt != self._attempt:
            if self._attempt and (self._content_at or self._thinking_at):
                self._print(Text(f"… the answer begins anew{_reason(message)}", style="yellow"))
            self._attempt = message.attempt
            self._begin()
        if len(message.content) < self._content_at:
            self._print(Text("… the answer was set right", style="yellow"))
            self._begin()
        if len(message.thinking) > self._thinking_at:
            self._print_pieces(self._content.flush())
            self._print_thinking(self._thinking.feed(message.thinking.since(self._thinking_at)))
            self._thinking_at = len(message.thinking)
        if len(message.content) > self._content_at:
            self._print_thinking(self._thinking.flush())
            self._take_content(message)
        self._print_blocks(message, all_of_them=False)

    def _take_content(self, message: Message) -> None:
        """Up to each finished tool's place, the tool, and on: text and tools interleave as they were made."""
        for block in message.blocks:
            at, key = block.get("at"), str(block.get("id"))
            is_new = key not in self._shown_blocks and block.get("status") in MARKS
            if is_new and isinstance(at, int) and self._content_at <= at <= len(message.content):
                self._feed_content(message, at)
                self._print_pieces(self._content.flush())
                self._print_block(key, block)
        self._feed_content(message, len(message.content))

    def _feed_content(self, message: Message, upto: int) -> None:
        text = message.content.since(self._content_at)[: upto - self._content_at]
        self._print_pieces(self._content.feed(text))
        self._content_at = upto

    def _print_blocks(self, message: Message, *, all_of_them: bool) -> None:
        for block in message.blocks:
            key = str(block.get("id"))
            if key not in self._shown_blocks and (all_of_them or block.get("status") in MARKS):
                self._print_pieces(self._content.flush())
                self._print_block(key, block)

    def _print_block(self, key: str, block: Mapping[str, Any]) -> None:
        self._shown_blocks.add(key)
        self._print(tool_panel(block))

    def _print_thinking(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._print(thought(piece.text))

    def _print_pieces(self, pieces: Iterable[Piece]) -> None:
        self._out += [rendered(piece) for piece in pieces]

    def _print(self, what: RenderableType) -> None:
        self._out.append(Padding(what, (0, 0, 1, 0)))

    # what still changes

    def _moving(self, message: Message | None, trouble: str | None) -> RenderableType:
        parts: list[RenderableType] = []
        if message is not None:
            if (rest := self._thinking.rest) is not None:
                parts.append(thought(rest.text))
            if (rest := self._content.rest) is not None:
                parts.append(rendered(rest))
            parts += [tool_panel(block) for block in message.blocks if str(block.get("id")) not in self._shown_blocks]
        return Group(LastLines(Group(*parts)), self._status(message, trouble))

    def _status(self, message: Message | None, trouble: str | None) -> RenderableType:
        seconds = trio.current_time() - self._since
        if trouble is not None:
            said = Text(f" {clean(trouble)}; trying again …", style="yellow")
        elif message is None or message.phase == "pending":
            queued = message is not None and message.status == "PENDING" and seconds > WAITS_S
            said = Text(f" {self._name} is asked{', and waits in the queue' if queued else ''}", style="dim")
        elif message.status == "CANCELLING":
            said = Text(" cancelling", style="yellow")
        else:
            word = "writes" if len(message.content) else "thinks"
            count = len(message.content) or len(message.thinking)
            said = Text(f" {self._name} {word} · {count:,} characters", style="dim")
        said.append(f" · {seconds:.0f} s · Ctrl-C to cancel", style="dim")
        self._spinner.update(text=said)
        return self._spinner


class LastLines:
    """What fits above the bottom of the screen: the last lines of something."""

    def __init__(self, inner: RenderableType, kept: int = 3) -> None:
        self._inner = inner
        self._kept = kept

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render all, yield the end."""
        lines = console.render_lines(self._inner, options, pad=False)
        for line in lines[-max(console.size.height - self._kept, 1) :]:
            yield from line
            yield Segment.line()


class Trimmed:
    """Something without the blank lines that it puts above and below itself."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render all, yield what is between the first and the last line that is not blank."""
        lines = console.render_lines(self._inner, options, pad=False)
        marked = [at for at, line in enumerate(lines) if any(segment.text.strip() for segment in line)]
        for line in lines[marked[0] : marked[-1] + 1] if marked else ():
            yield from line
            yield Segment.line()


def rendered(piece: Piece) -> RenderableType:
    """A piece as a terminal shows it, with the blank line that follows it."""
    below = 0 if piece.goes_on else 1
    if piece.kind == CODE:
        code = Syntax(
            piece.text,
            piece.language or "text",
            theme=CODE_THEME,
            background_color="default",
            word_wrap=True,
            line_numbers=False,
        )
        return Padding(code, (0, 0, below, 2))
    # Hyperlinks off: a terminal would follow an address that isn't shown.
    return Padding(Trimmed(Markdown(piece.text, code_theme=CODE_THEME, hyperlinks=False)), (0, 0, below, 0))


def thought(text: str) -> RenderableType:
    """Thinking, dimmed."""
    return Padding(Text(text, style="dim italic"), (0, 0, 0, 2))


def tool_panel(block: Mapping[str, Any]) -> RenderableType:
    """A tool's use: its name and state, what went in, what came out."""
    status = str(block.get("status"))
    lines = [Text(value, overflow="fold") for key in ("tool_input",) if (value := _shown(block.get(key)))]
    if output := _shown(block.get("tool_output")):
        lines.append(Text("→ " + output, style="default" if status != "error" else "red", overflow="fold"))
    name = Text.from_markup(MARKS.get(status, "[cyan]…[/]") + " ")
    name.append(clean(str(block.get("tool_name") or "tool")), style="bold")
    return Panel(Group(*lines), title=name, title_align="left", border_style="dim", expand=False)


def _shown(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, Mapping) and all(isinstance(item, str | int | float | bool) for item in value.values()):
        text = ", ".join(f"{key}: {item}" for key, item in value.items())
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = clean(text)
    return text if len(text) <= MOST_OUTPUT else f"{text[:MOST_OUTPUT]}… ({len(text):,} characters)"


def _reason(message: Message) -> str:
    return f" ({clean(message.reason).replace('_', ' ')})" if message.reason else ""


def how_it_ended(message: Message) -> str:
    """A line for an ending that is no completion; empty for one that is."""
    if message.status == "FAILED":
        kind = f" ({clean(message.error_type)})" if message.error_type else ""
        return f"The answer failed{kind}: {clean(message.error or 'no reason was given')}"
    if message.status == "CANCELLED":
        return "The answer was cancelled."
    return "" if message.status in TERMINAL else "The answer is not complete."
