"""Messages as they travel through Redis: `SENDER NUMBER KIND`, a line feed, the body.

KIND is `m` for what was published, `r` for a reminder, `a` for what the log appended: its body is a line of JSON,
`[task, subtask, attempt, [[channel, offset, bytes]…], [[key, version, kind, bytes]…]]`, then each text and each value's
data, one behind the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from wegent.codec import CodecError, decode, encode_plain
from wegent.core.model import Entry, StreamId, Text, Value
from wegent.core.ports.fanout import Appended, Message


def published(sender: str, number: int, body: bytes) -> bytes:
    """What was published."""
    return b"%s %d m\n%s" % (sender.encode(), number, body)


def reminder(sender: str, number: int) -> bytes:
    """The latest number again."""
    return b"%s %d r\n" % (sender.encode(), number)


def appended_head(
    sender: str,
    number: int,
    stream: StreamId,
    texts: Sequence[tuple[Text, bytes]],
    values: Sequence[tuple[Value, bytes]],
) -> bytes:
    """What stands before the texts and the values' data, which come with their bytes."""
    about = [
        *stream,
        [[text.channel, text.offset, len(data)] for text, data in texts],
        [[value.key, value.version, value.kind, len(data)] for value, data in values],
    ]
    return b"%s %d a\n%s\n" % (sender.encode(), number, encode_plain(about))


def read_message(topic: str, payload: bytes) -> Message | None:
    """The message of a payload; None if it is nothing of ours."""
    head, _, rest = payload.partition(b"\n")
    try:
        sender, number, kind = head.split(b" ")
        body = rest if kind == b"m" else None if kind == b"r" else _appended(rest)
        return Message(topic, sender.decode(), int(number), body)
    except (ValueError, CodecError, KeyError, IndexError, TypeError):
        return None


def _appended(rest: bytes) -> Appended:
    about, _, data = rest.partition(b"\n")
    task, subtask, attempt, texts, values = decode(about)
    entries: list[Entry] = []
    at = 0
    for channel, offset, size in texts:
        entries.append(Text(channel, offset, data[at : at + size].decode()))
        at += size
    for key, version, kind, size in values:
        entries.append(Value(key, version, kind, decode(data[at : at + size])))
        at += size
    return Appended(StreamId(task, subtask, attempt), tuple(entries))
