"""What a report of a run that is elsewhere holds, and what of it is new to the log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from wegent.core.errors import InvalidPayload, OffsetMismatch
from wegent.core.model import CONTENT, Value
from wegent.core.text import SurrogateJoiner, bounded, clean
from wegent.core.values import NAME_LIMIT, PIECE, Values

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.replica import Replica

MOST_SKILLS = 16
"""Questions of one run that may wait for their answers."""
VALUES_SIZE = 200_000
"""Characters of the values of one append, about, so that their chunk fits a frame."""


@frozen
class SaidText:
    """Text of a channel; `offset`: the code points that the run has said before it, None: what follows."""

    channel: str
    delta: str
    offset: int | None = None


@frozen
class SaidWhole:
    """The whole text of a channel so far."""

    channel: str
    text: str


@frozen
class SaidBlock:
    """A block, as `Sink.block` takes it."""

    block: Mapping[str, Any]


@frozen
class SaidProgress:
    """How far the run is, 0 to 100."""

    progress: int
    message: str | None = None


@frozen
class SaidApp:
    """A running app's preview, as `Sink.app` takes it."""

    app: Mapping[str, Any]


@frozen
class SaidSkill:
    """A question to the viewers; asked again under the same `id` it is the same question."""

    id: str
    skill_name: str
    action: str
    data: Mapping[str, Any]


Said = SaidText | SaidWhole | SaidBlock | SaidProgress | SaidApp | SaidSkill


class Draft:
    """One report, put against what the log holds: what is there already is skipped, the rest is to be appended.

    Changes nothing but itself, so that a report is taken whole or not at all. `halves` are by channel the halves of
    surrogate pairs that wait for their other half; `over`: the run has said more than is kept of one stream.
    """

    def __init__(
        self,
        replica: Replica,
        clock: Clock,
        *,
        halves: Mapping[str, str],
        most: int,
        asked: Collection[str] = (),
        waiting: int = 0,
    ) -> None:
        """`asked` are the ids of skills that were asked before, `waiting` how many of them have no answer yet."""
        self._replica = replica
        self._clock = clock
        self._known: Values | None = None
        self._asked = asked
        self._waiting = waiting
        self._left = most - sum(replica.lengths().values())
        self._parts: dict[str, list[str]] = {}
        self._lengths = replica.lengths()
        self.halves = dict(halves)
        self.values: dict[str, Value] = {}
        self.skills: dict[str, SaidSkill] = {}
        self.over = False

    def take(self, said: Said) -> None:
        """Add one thing that was said.

        Raises:
            OffsetMismatch: text that does not continue the log, or differs from it; `offset` is the log's length.
            InvalidPayload: a block, an app or a skill that is none.
        """
        if self.over:
            return
        match said:
            case SaidText(channel, delta, offset):
                self._text(channel, delta, offset)
            case SaidWhole(channel, text):
                self._whole(channel, text)
            case SaidBlock(block):
                self._value(self._values().block(block, self._length(CONTENT)))
            case SaidProgress(progress, message):
                self._value(self._values().progress(progress, message))
            case SaidApp(app):
                self._value(self._values().app(app))
            case SaidSkill():
                self._skill(said)

    def finish(self) -> None:
        """Nothing more will be said: a half that has waited stays alone."""
        for channel, half in self.halves.items():
            self._append(channel, clean(half))
        self.halves.clear()

    def batches(self) -> Iterator[tuple[dict[str, str], Sequence[Value]]]:
        """Texts and values by append, each small enough to be told in one frame."""
        texts = {channel: text for channel, parts in self._parts.items() if (text := "".join(parts))}
        groups = list(_groups(self.values.values()))
        if sum(map(len, texts.values())) <= PIECE:
            if texts or groups:
                yield texts, groups[0] if groups else ()
            groups = groups[1:]
        else:
            for channel, text in texts.items():
                for start in range(0, len(text), PIECE):
                    yield {channel: text[start : start + PIECE]}, ()
        for group in groups:
            yield {}, group

    def _length(self, channel: str) -> int:
        return self._lengths.get(channel, 0)

    def _text(self, channel: str, delta: str, offset: int | None) -> None:
        joiner = SurrogateJoiner(self.halves.get(channel, ""))
        length = self._length(channel)
        if offset is None or offset == length + len(joiner.half):
            self._append(channel, joiner.feed(delta))
            self._keep(channel, joiner)
        elif offset > length:
            raise self._mismatch(channel)
        else:
            self._again(channel, delta, offset)

    def _again(self, channel: str, delta: str, offset: int) -> None:
        """Text that begins within what is there: it must agree with that, and what goes beyond it is new."""
        joiner = SurrogateJoiner()
        text = joiner.feed(delta)
        overlap = self._length(channel) - offset
        if self._slice(channel, offset, offset + len(text)) != text[:overlap]:
            raise self._mismatch(channel)
        if len(text) > overlap or (len(text) == overlap and joiner.half):
            self._append(channel, text[overlap:])
            self._keep(channel, joiner)

    def _whole(self, channel: str, text: str) -> None:
        if len(clean(text)) < self._length(channel):
            raise self._mismatch(channel)
        self._again(channel, text, 0)

    def _keep(self, channel: str, joiner: SurrogateJoiner) -> None:
        self.halves.pop(channel, None)
        if joiner.half:
            self.halves[channel] = joiner.half

    def _append(self, channel: str, text: str) -> None:
        if len(text) > self._left:
            self.over = True
            text = text[: self._left]
        self._left -= len(text)
        if text:
            self._parts.setdefault(channel, []).append(text)
            self._lengths[channel] = self._length(channel) + len(text)

    def _slice(self, channel: str, start: int, stop: int) -> str:
        kept = self._replica.length(channel)
        text = self._replica.text(channel, start, stop)
        if stop > kept and channel in self._parts:
            text += "".join(self._parts[channel])[max(0, start - kept) : stop - kept]
        return text

    def _mismatch(self, channel: str) -> OffsetMismatch:
        length = self._replica.length(channel)
        return OffsetMismatch(
            f"this does not continue the {channel} channel, which holds {length} code points",
            offset=length,
            channel=channel,
        )

    def _values(self) -> Values:
        if self._known is None:
            self._known = Values(self._clock, self._replica.values)
        return self._known

    def _value(self, value: Value) -> None:
        known = self._values().newest.get(value.key)
        if known is not None and _content(known) == _content(value):
            return
        if self._values().add(value):
            self.values[value.key] = value
        else:
            self.over = True

    def _skill(self, said: SaidSkill) -> None:
        if said.id in self._asked or said.id in self.skills:
            return
        if not 0 < len(said.id) <= NAME_LIMIT or clean(said.id) != said.id:
            message = f"a skill request needs an `id`, valid Unicode of 1 to {NAME_LIMIT} characters"
            raise InvalidPayload(message)
        if self._waiting + len(self.skills) >= MOST_SKILLS:
            message = f"at most {MOST_SKILLS} skill requests of a run wait for their answers"
            raise InvalidPayload(message)
        name, action = clean(said.skill_name)[:NAME_LIMIT], clean(said.action)[:NAME_LIMIT]
        self.skills[said.id] = SaidSkill(said.id, name, action, bounded(said.data))


def _content(value: Value) -> dict[str, Any]:
    """What a value says; when, and as the how many-eth, does not matter."""
    return {name: item for name, item in value.data.items() if name not in ("version", "timestamp")}


def _groups(values: Collection[Value]) -> Iterator[list[Value]]:
    group: list[Value] = []
    size = 0
    for value in values:
        weight = len(repr(value.data))
        if group and size + weight > VALUES_SIZE:
            yield group
            group, size = [], 0
        group.append(value)
        size += weight
    if group:
        yield group
