from __future__ import annotations

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wegent.codec import encode_plain
from wegent.core.model import Entry, StreamId, Text, Value
from wegent.core.ports.fanout import Appended, Lost, Message
from wegent.fanout.backlog import Backlog
from wegent.fanout.numbers import Numbers
from wegent.fanout.redis.messages import appended_head, published, read_message, reminder

texts = st.text(st.characters(exclude_categories=["Cs"]))
counts = st.integers(0, 2**53 - 1)
data = st.dictionaries(texts, st.one_of(texts, st.none(), st.booleans(), counts, st.lists(texts)))
entries = st.lists(
    st.one_of(st.builds(Text, texts, counts, texts), st.builds(Value, texts, counts, texts, data)), max_size=6
)


@given(st.lists(st.sampled_from("abcdefg"), max_size=200), st.integers(1, 4))
def test_numbers_of_a_topic_only_grow_and_by_one_while_it_is_remembered(topics: list[str], most: int) -> None:
    numbers, latest = Numbers(most), dict[str, int]()
    for topic in topics:
        known = numbers.latest(topic)
        number = numbers.take(topic)
        assert number == known + 1 if known is not None else number > latest.get(topic, 0)
        assert numbers.latest(topic) == number
        latest[topic] = number
    assert sum(numbers.latest(topic) is not None for topic in "abcdefg") <= most


def message(number: int) -> Message:
    return Message("t", "s", number, b"")


async def test_what_does_not_fit_is_lost_once_at_its_place() -> None:
    backlog = Backlog(messages=3, size=100)
    assert [backlog.put(message(number), 1) for number in range(5)] == [True] * 3 + [False] * 2
    assert await backlog.take() == [message(0), message(1), message(2), Lost()]
    assert backlog.put(message(5), 100)
    assert not backlog.put(message(6), 1)
    assert await backlog.take() == [message(5), Lost()]


async def test_a_receiver_wakes_for_a_message_and_for_a_loss() -> None:
    for give in (lambda backlog: backlog.put(message(1), 1), lambda backlog: backlog.lose()):
        backlog, got = Backlog(), list[Message | Lost]()

        async def take(backlog: Backlog = backlog, got: list[Message | Lost] = got) -> None:
            got += await backlog.take()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            give(backlog)
        assert len(got) == 1


@given(entries, counts)
def test_what_was_appended_is_read_as_it_was_written(said: list[Entry], number: int) -> None:
    stream = StreamId(1, 2, 3)
    said.sort(key=lambda entry: isinstance(entry, Value))
    spoken = [(entry, entry.delta.encode()) for entry in said if isinstance(entry, Text)]
    values = [(entry, encode_plain(entry.data)) for entry in said if isinstance(entry, Value)]
    payload = appended_head("me", number, stream, spoken, values)
    payload += b"".join(part for _, part in [*spoken, *values])
    assert read_message("t", payload) == Message("t", "me", number, Appended(stream, tuple(said)))


@given(st.binary(), counts)
def test_what_was_published_is_read_as_it_was_written(body: bytes, number: int) -> None:
    assert read_message("t", published("me", number, body)) == Message("t", "me", number, body)
    assert read_message("t", reminder("me", number)) == Message("t", "me", number, None)


@given(st.binary())
def test_no_payload_of_strangers_breaks_the_reading(payload: bytes) -> None:
    for head in (b"", b"me 1 a\n", b"me 1 a\n[1,2,3,[],[]]\n"):
        read = read_message("t", head + payload)
        assert read is None or read.topic == "t"
