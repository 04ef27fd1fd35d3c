"""The answers of the offline engine to what is no directive: notes on Wegent, a quote, and counting."""

from __future__ import annotations

from collections.abc import Iterator

from wegent.engines.offline_directives import WHO, directed
from wegent.engines.offline_steps import Message, Say, Step, Think, Tool, amount, short
from wegent.engines.offline_topics import TOPICS, find_topic


def compose(message: Message) -> Iterator[Step]:
    """The steps of the answer to a message; the same message gives the same steps."""
    return directed(message) or _reply(message)


def _reply(message: Message) -> Iterator[Step]:
    lower = {word.lower() for word in message.words}
    topic = find_topic(lower)
    yield Think(_thoughts(message, topic.title if topic else None))
    if message.earlier == 0:
        yield Say(WHO)
    if topic is not None:
        yield Say(f"### {topic.title}\n\n{topic.text}\n\n")
    elif lower & {"hello", "hi", "hey", "hallo", "bonjour", "hola", "你好", "こんにちは"}:
        yield Say("Hello! 👋 Ask me what a *room*, a *stream* or an *executor* is, or send `/help`.\n\n")
    yield from _counted(message)
    yield Say(_footer(topic is not None, message.earlier))


def _thoughts(message: Message, title: str | None) -> str:
    kind = "a question" if "?" in message.text else "no question"
    notes = f'My notes have something on "{title}".' if title else "My notes have nothing on it, so I count."
    return f"{amount(len(message.words), 'word')}, {kind}. {notes} There is no model here to think any further."


def _counted(message: Message) -> Iterator[Step]:
    text = message.text
    counts = {"words": len(message.words), "characters": len(text), "lines": len(text.splitlines())}
    yield Say(f"You wrote:\n\n{_quote(text)}\n\n")
    parts = tuple({"words": counted} for counted in range(0, counts["words"], max(1, counts["words"] // 4)))[1:]
    yield Tool("count_words", {"text": short(text, 80)}, counts, parts[:4])
    longest = max(message.words, key=len, default="")
    yield Say(
        f"That is\n\n- **{amount(counts['words'], 'word')}**\n- {amount(counts['characters'], 'character')}"
        f" (Unicode code points)\n- {amount(counts['lines'], 'line')}\n"
        + (f"- longest word: *{short(longest, 40)}*\n" if longest else "")
        + "\nor, in Python:\n\n"
        f"```python\nmessage = {short(text, 40)!r}\nlen(message.split())  # {len(short(text, 40).split())}\n```\n\n"
    )


def _footer(answered: bool, earlier: int) -> str:
    if answered:
        return "Send `/help` for what else can be asked and tried.\n"
    topics = ", ".join(topic.title.lower() for topic in TOPICS[2:6])
    hint = f"I have notes on {topics} and more. " if earlier == 0 else ""
    return f"{hint}Send `/help` for things to try, or ask how to *add a model* that can do better than count.\n"


def _quote(text: str) -> str:
    lines = short(text.strip(), 400).splitlines() or [""]
    return "\n".join(f"> {line}".rstrip() for line in lines[:8]) + ("\n> …" if len(lines) > 8 else "")
