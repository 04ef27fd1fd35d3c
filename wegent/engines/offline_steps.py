"""What an answer of the offline engine is made of: steps, and the message that they answer."""

from __future__ import annotations

import re
from typing import Any

from attrs import field, frozen


@frozen
class Say:
    """Text for the content channel."""

    text: str


@frozen
class Think:
    """Text for the thinking channel."""

    text: str


@frozen
class Tool:
    """The use of a tool: it is asked, puts out its output bit by bit, and is done or, with `error`, fails."""

    name: str
    input: dict[str, Any]
    output: Any
    parts: tuple[Any, ...] = ()
    error: bool = False


@frozen
class Pace:
    """From here on so many tokens a second; 0 is as fast as they are taken."""

    tokens_per_s: float


@frozen
class Pause:
    """Nothing for so many seconds."""

    seconds: float


@frozen
class Tell:
    """How far the work is, in percent."""

    percent: int
    message: str


@frozen
class Fail:
    """The run fails here."""

    sentence: str


Step = Say | Think | Tool | Pace | Pause | Tell | Fail


@frozen
class Message:
    """What is answered: the newest message, and how many came before it from people."""

    text: str
    earlier: int = 0
    words: tuple[str, ...] = field(init=False)

    @words.default
    def _split(self) -> tuple[str, ...]:
        return tuple(re.findall(r"[\w'\u2019-]+", self.text))


def amount(count: int, noun: str) -> str:
    """A number with its noun, in the singular or the plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def short(text: str, most: int) -> str:
    """The text, cut where it is longer than `most`."""
    return text if len(text) <= most else text[: most - 1] + "…"
