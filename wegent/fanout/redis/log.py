"""The log of streams in Redis, shared by all workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import hiredis
import trio
from attrs import asdict

from wegent.codec import decode, encode_plain
from wegent.core.errors import BrokerAway, OffsetMismatch, Sealed
from wegent.core.model import Ending, EndingStatus, Entry, Snapshot, StreamId, Text, Value
from wegent.core.ports.fanout import task_topic
from wegent.core.ports.streamlog import StreamLog
from wegent.core.replica import Replica
from wegent.fanout.redis.connection import Reply
from wegent.fanout.redis.fanout import RedisFanout
from wegent.fanout.redis.link import Link
from wegent.fanout.redis.log_scripts import APPEND, END, READ
from wegent.fanout.redis.messages import appended_head

PIECE = 262_144
"""Code points, or bytes of values, that one step of a restoration writes."""
TRIES = 5


class _Said(NamedTuple):
    """Entries as the script takes them: of each channel one text."""

    texts: list[tuple[Text, bytes]]
    values: list[tuple[Value, bytes]]


class RedisStreamLog(StreamLog):
    """Texts and values of running streams. `ttl`: seconds that a stream is kept without an append.

    The link should know the log's `SCRIPTS`: one that the server has to be told anew costs a number, so others look for
    a message that never was.
    Appends are announced by the fan-out's sender, numbered among its messages. Every call raises `BrokerAway` where
    Redis does not answer; whether it was carried out, nobody knows then.
    """

    def __init__(self, link: Link, fanout: RedisFanout, *, ttl: float) -> None:
        self._link = link
        self._fanout = fanout
        self._ttl = round(ttl * 1000)

    async def append(self, stream: StreamId, entries: Sequence[Entry]) -> None:
        """Add entries; cancelled, they may be there or not, and adding them again succeeds either way.

        What continues the log, or was appended last, is one round trip. Of what overlaps otherwise the script can't
        tell in code points how much is new: then the stream is read and compared here.
        """
        if not entries:
            await trio.lowlevel.checkpoint()
            return
        said = _joined(entries)
        for _ in range(TRIES):
            if said is not None:
                refused = await self._append(stream, said)
                if refused is None:
                    return
                text, length = refused
                if text.offset > length:
                    message = f"the {text.channel} channel holds {length} code points"
                    raise OffsetMismatch(message, offset=length, channel=text.channel)
            said = await self._rest(stream, entries)
        message = "the log of the stream changes faster than it can be compared"
        raise BrokerAway(message)

    def post_text(self, replica: Replica, channel: str, text: str, done: Callable[[bool], None]) -> bool:
        """One step as `append` takes it, if there is a way and room on it."""
        link, stream = self._link, replica.stream
        if not link.up or link.full:
            return False
        said = Text(channel, replica.length(channel), text), text.encode()
        topic, meta = task_topic(stream.task_id), self._key(stream)
        head = appended_head(self._fanout.sender, self._fanout.numbers.take(topic), stream, (said,), ())
        link.post_to(
            lambda reply: done(not isinstance(reply, Exception) and reply[0] == 0),
            *APPEND.by_name((meta, f"{meta}:{channel}")),
            *(self._ttl, self._fanout.prefix + topic, head, 1),
            *(f"t{channel}", said[0].offset, len(text), said[1]),
        )
        return True

    async def read(self, stream: StreamId, since: Mapping[str, int] | None = None) -> Snapshot | None:
        """What the stream holds; a tail costs what it is long, however long the text before it."""
        since = since or {}
        wanted = [part for channel, offset in since.items() if offset for part in (channel, offset)]
        found = await self._link.run_script(READ, (self._key(stream),), *wanted)
        return _snapshot(dict(zip(found[::2], found[1::2], strict=True)), since) if found else None

    async def restore(self, stream: StreamId, snapshot: Snapshot) -> None:
        """Write back what the log has lost, piece by piece, each announced as an append is."""
        known = await self.read(stream, {channel: len(text) for channel, text in snapshot.texts.items()})
        if known is not None and known.ending is not None:
            message = "the stream has ended"
            raise Sealed(message)
        for entries in _pieces(snapshot, known or Snapshot({})):
            await self.append(stream, entries)

    async def end(self, stream: StreamId, ending: Ending, *, keep: float) -> None:
        """Seal the stream, and let it lapse."""
        data = encode_plain(asdict(ending, recurse=False))
        await self._link.run_script(END, (self._key(stream),), data, max(0, round(keep * 1000)))

    def _key(self, stream: StreamId) -> str:
        topic = task_topic(stream.task_id)
        return f"{self._fanout.prefix}{topic}:{stream.subtask_id}.{stream.attempt}"

    async def _append(self, stream: StreamId, said: _Said) -> tuple[Text, int] | None:
        """One step; the first text that does not continue its channel, and the channel's length, if there is one."""
        status = await self._run_append(stream, said)
        if status[0] == 0:
            return None
        if status[0] < 0:
            message = "the stream has ended"
            raise Sealed(message)
        return said.texts[status[0] - 1][0], status[1]

    async def _run_append(self, stream: StreamId, said: _Said) -> Reply:
        """The number is taken in the step that sends it, so that numbers leave in their order."""
        link, topic, meta = self._link, task_topic(stream.task_id), self._key(stream)
        keys = (meta, *(f"{meta}:{text.channel}" for text, _ in said.texts))
        args = _arguments(said)
        for begin in (APPEND.by_name(keys), APPEND.by_text(keys)):
            await link.room()
            number = self._fanout.numbers.take(topic)
            head = appended_head(self._fanout.sender, number, stream, *said)
            pending = link.post(*begin, self._ttl, self._fanout.prefix + topic, head, len(said.texts), *args)
            try:
                return await link.reply(pending)
            except hiredis.ReplyError:  # the server has forgotten the script
                continue
        message = "Redis can't run a script"
        raise BrokerAway(message)

    async def _rest(self, stream: StreamId, entries: Sequence[Entry]) -> _Said:
        """What of the entries is not in the log; raises as `append` where they don't fit."""
        snapshot = await self.read(stream) or Snapshot({})
        replica = Replica.of(stream, snapshot)
        replica.apply(entries)
        channels = dict.fromkeys(entry.channel for entry in entries if isinstance(entry, Text))
        starts = {channel: snapshot.lengths.get(channel, 0) for channel in channels}
        return _encoded(
            [Text(channel, start, replica.text(channel, start)) for channel, start in starts.items()],
            [entry for entry in entries if isinstance(entry, Value)],
        )


def _joined(entries: Sequence[Entry]) -> _Said | None:
    """The entries with one text a channel; None where those of one channel do not follow each other."""
    texts: dict[str, Text] = {}
    for entry in entries:
        if isinstance(entry, Text):
            before = texts.get(entry.channel)
            if before is not None and before.offset + len(before.delta) != entry.offset:
                return None
            texts[entry.channel] = (
                entry if before is None else Text(entry.channel, before.offset, before.delta + entry.delta)
            )
    return _encoded(list(texts.values()), [entry for entry in entries if isinstance(entry, Value)])


def _encoded(texts: Sequence[Text], values: Sequence[Value]) -> _Said:
    return _Said(
        [(text, text.delta.encode()) for text in texts],
        [(value, encode_plain(dict(value.data))) for value in values],
    )


def _arguments(said: _Said) -> list[str | bytes | int]:
    args: list[str | bytes | int] = []
    for text, delta in said.texts:
        args += (f"t{text.channel}", text.offset, len(text.delta), delta)
    for value, data in said.values:
        args += (f"v{value.key}", value.version, value.kind, data)
    return args


def _snapshot(fields: Mapping[bytes, Reply], since: Mapping[str, int]) -> Snapshot:
    texts: dict[str, str] = {}
    lengths: dict[str, int] = {}
    values: list[Value] = []
    ending: Ending | None = None
    for field, kept in fields.items():
        kind, name = field[:1], field[1:].decode()
        if kind == b"t":
            length, start, data = kept
            lengths[name] = length
            texts[name] = _tail(data, start, length - since.get(name, 0))
        elif kind == b"v":
            values.append(_value(name, kept))
        else:
            about = decode(kept)
            ending = Ending(EndingStatus(about.pop("status")), **about)
    return Snapshot(texts, tuple(values), lengths, ending)


def _tail(data: bytes, start: int, length: int) -> str:
    """The last code points of bytes that begin anywhere within one, or at a text's start."""
    if length <= 0:
        return ""
    if start:
        begin = 0
        while data[begin] & 0xC0 == 0x80:
            begin += 1
        data = data[begin:]
    text = data.decode()
    return text[len(text) - length :]


def _value(key: str, kept: bytes) -> Value:
    version, size, rest = kept.split(b" ", 2)
    kind, data = rest[: int(size)], rest[int(size) :]
    return Value(key, int(version), kind.decode(), decode(data))


def _pieces(snapshot: Snapshot, known: Snapshot) -> Iterator[list[Entry]]:
    """What `known` lacks, a bounded part at a time."""
    for channel, text in snapshot.texts.items():
        for start in range(known.lengths.get(channel, 0), len(text), PIECE):
            yield [Text(channel, start, text[start : start + PIECE])]
    versions = {value.key: value.version for value in known.values}
    piece: list[Entry] = []
    size = 0
    for value in snapshot.values:
        if value.version > versions.get(value.key, -1):
            piece.append(value)
            size += len(encode_plain(dict(value.data)))
            if size > PIECE:
                yield piece
                piece, size = [], 0
    if piece:
        yield piece
