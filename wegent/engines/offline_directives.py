"""What can be tried with the offline engine: `/help`, `/long`, `/slow` and so on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from attrs import frozen

from wegent.engines.offline_steps import Fail, Message, Pace, Pause, Say, Step, Tell, Think, Tool, amount, short
from wegent.engines.offline_topics import TOPICS

MAX_WORDS = 1_000_000
_CALL = re.compile(r"\s*(?:@\S+\s+)?/([a-z]+)\b[ \t]*(.*)", re.IGNORECASE | re.DOTALL)

WHO = (
    "I am Wegent's **offline engine**. I am no model: I need no key and no network, and I answer from your message "
    "and from a few notes about Wegent.\n\n"
)


@frozen
class Directive:
    """How it is written, what it does (both as `/help` shows them), and the steps for what stands behind it."""

    usage: str
    does: str
    steps: Callable[[str], Iterator[Step]]


def directed(message: Message) -> Iterator[Step] | None:
    """The steps of the directive that a message is (a mention may come before it); None where it is none."""
    call = _CALL.match(message.text)
    if call is None:
        return None
    directive = _DIRECTIVES.get(call[1].lower())
    return _unknown(call[1]) if directive is None else directive.steps(call[2].strip())


def _help(_rest: str) -> Iterator[Step]:
    rows = "".join(f"| `{each.usage}` | {each.does} |\n" for each in _DIRECTIVES.values())
    topics = "".join(f"- {topic.title}\n" for topic in TOPICS)
    yield Say(f"{WHO}### Things to try\n\n| send | and get |\n|---|---|\n{rows}\n")
    yield Say(f"### Things to ask about\n\n{topics}\nAnything else I quote and count.\n")


def _echo(rest: str) -> Iterator[Step]:
    yield Say(rest or "Nothing to echo: write some text behind `/echo`.")


def _long(rest: str) -> Iterator[Step]:
    for first in range(1, (last := _number(rest, 500, MAX_WORDS)) + 1, 100):
        words = [_numbered(n) for n in range(first, min(first + 100, last + 1))]
        yield Say(" ".join(words) + "\n\n")


def _slow(_rest: str) -> Iterator[Step]:
    yield Pace(4)
    yield Say(
        "Slowly, one word after the other, this answer takes its time, so that there is enough of it to stop me, "
    )
    yield Say("to reload the page, or to pull the plug and put it in again. Nothing of it will be lost.\n")


def _fast(rest: str) -> Iterator[Step]:
    yield Pace(0)
    yield from _long(rest or "10000")


def _think(_rest: str) -> Iterator[Step]:
    for n in range(1, 13):
        yield Think(f"Step {n}: {n} squared is {n * n}, and the sum so far {n * (n + 1) * (2 * n + 1) // 6}. ")
    yield Say("The squares of 1 to 12 add up to **650**.\n")


def _tools(_rest: str) -> Iterator[Step]:
    yield Say("First I look for the file. ")
    yield Tool("find_file", {"name": "answer.txt"}, "no such file: answer.txt", error=True)
    yield Say("It is not there, so I work it out. ")
    yield Tool("multiply", {"a": 6, "b": 7}, 42, (0, 6, 12, 24, 36))
    yield Say("And keep it for the next time. ")
    yield Tool("write_file", {"name": "answer.txt", "text": "42"}, {"bytes": 2})
    yield Say("The answer is **42**. (No file was written: these tools only play.)\n")


def _call(_rest: str) -> Iterator[Step]:
    yield Say("No tools are offered for this answer. `plugins.add` of the server's configuration can load some.\n")


def _progress(_rest: str) -> Iterator[Step]:
    for percent in range(0, 101, 10):
        yield Tell(percent, f"{percent} of 100")
        yield Pause(0.1)
    yield Say("Done.\n")


def _code(_rest: str) -> Iterator[Step]:
    yield Say("A race between two tasks, with Trio; the first to arrive wins and the other is cancelled:\n\n")
    yield Say(_CODE)
    yield Say("\nLeaving the `async with` means that both have ended. There are no stray tasks.\n")


def _emoji(_rest: str) -> Iterator[Step]:
    yield Say(
        "| what | text |\n|---|---|\n"
        "| family, one sign of 7 code points | 👨‍👩‍👧‍👦 |\n| skin tone | 👋🏽 |\n| flags | 🇫🇷🇯🇵🏴󠁧󠁢󠁷󠁬󠁳󠁿 |\n"
        "| combining marks | e\u0301 n\u0303 Z\u0351\u036b\u0343 |\n| the same, composed | é ñ |\n"
        "| Chinese | 漢字 你好。 |\n"
        "| Japanese | ひらがな カタカナ |\n| Korean | 한국어 |\n| beyond the basic plane | 𠮷 𝄞 |\n"
        "| right to left | שלום مرحبا |\n| Devanagari | नमस्ते |\n| Thai | สวัสดี |\n"
    )


def _wait(rest: str) -> Iterator[Step]:
    seconds = _number(rest, 3, 3600)
    yield Say("Now I am silent. ")
    yield Pause(seconds)
    yield Say(f"That was {amount(seconds, 'second')}.\n")


def _error(_rest: str) -> Iterator[Step]:
    yield Say("This sentence is kept, although what follows it ")
    yield Fail("The offline engine failed because it was asked to. Nothing is broken; try another message.")


def _unknown(name: str) -> Iterator[Step]:
    yield Say(f"There is no `/{short(name, 20)}` here. There are:\n\n")
    yield Say("".join(f"- `{each.usage}`: {each.does}\n" for each in _DIRECTIVES.values()))


_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _numbered(n: int) -> str:
    """A word of its own for each number: its digits spelled out, so that a gap or a repeat is seen."""
    return "-".join(_UNITS[int(digit)] for digit in str(n))


def _number(text: str, default: int, most: int) -> int:
    found = re.match(r"\d{1,9}", text)
    return max(1, min(int(found[0]), most)) if found else default


_CODE = """```python
import trio


async def racer(name: str, pace: float, finish: trio.CancelScope) -> None:
    for metre in range(1, 11):
        await trio.sleep(pace)
        print(f"{name}: {metre} m")
    print(f"{name} wins")
    finish.cancel()


async def main() -> None:
    async with trio.open_nursery() as race:
        race.start_soon(racer, "tortoise", 0.2, race.cancel_scope)
        race.start_soon(racer, "hare", 0.1, race.cancel_scope)


trio.run(main)
```
"""

_DIRECTIVES = {
    "help": Directive("/help", "this list", _help),
    "echo": Directive("/echo TEXT", "the text, unchanged", _echo),
    "long": Directive("/long N", "an answer of N words (500), to reload or to reconnect in", _long),
    "slow": Directive("/slow", "four tokens a second: time to press *Stop*", _slow),
    "fast": Directive("/fast N", "N words (10000) as fast as they can be taken", _fast),
    "think": Directive("/think", "much thinking, little answer", _think),
    "tools": Directive("/tools", "three tools: one fails, two work", _tools),
    "call": Directive("/call NAME JSON", "a tool of this server used for real; without a name, which there are", _call),
    "progress": Directive("/progress", "a bar that fills", _progress),
    "code": Directive("/code", "a code block", _code),
    "emoji": Directive("/emoji", "writing systems, combining marks and emoji, which must arrive whole", _emoji),
    "wait": Directive("/wait N", "silence for N seconds (3), then an answer", _wait),
    "error": Directive("/error", "an answer that fails in the middle", _error),
}
