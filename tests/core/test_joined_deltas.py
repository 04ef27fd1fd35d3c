"""Tokens that leave together: what is joined, and what must keep them apart."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wegent.codec import decode
from wegent.core.catchup import JOINED, CatchUp
from wegent.core.errors import Sealed
from wegent.core.instruments import Registry
from wegent.core.model import Ending, EndingStatus, StreamId, Value
from wegent.core.outbox import NOT, NOW, SOON, Drain, Outbox, OutboxLimits
from wegent.core.rooms import Rooms
from wegent.core.streams import Streams
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryStreamLog
from wegent.server.telling import CHAT, ChatVoice, task_room
from wegent.testing.memory_transport import JsonWire

ROOM = task_room(1)
WIRES = (JsonWire(), JsonWire())


class Socket(Drain):
    """Takes when the test says so."""

    def __init__(self):
        self.told = []

    def notify(self, outbox):
        self.told.append(NOW)

    def notify_text(self, outbox):
        self.told.append(SOON)


class Member:
    """A session as rooms know it, and what its client has got."""

    namespace = CHAT

    def __init__(self, wire=WIRES[0], limits=None):
        self.open = True
        self.rooms = {}
        self.outbox = Outbox(wire, limits or OutboxLimits(), self.overflow)
        self.socket = Socket()
        self.outbox.attach(self.socket)
        self.got = []

    def overflow(self):
        raise AssertionError("nobody falls so far behind here")

    def read(self, limit=1_000_000):
        frames = [decode(frame) for frame in self.outbox.take(limit)]
        if not self.outbox.queue:
            self.outbox.scheduled = NOT
        self.got += [(frame["event"], frame["data"]) for frame in frames]
        return len(frames)


class Scene:
    def __init__(self):
        timers = Timers()
        self.rooms = Rooms(Registry())
        self.streams = Streams(MemoryStreamLog(timers), self.rooms, timers, ChatVoice())
        self.replica = self.streams.open(StreamId(1, 2, 1), 0)

    def member(self, *args, **more):
        member = Member(*args, **more)
        self.rooms.enter(member, ROOM)
        return member

    def say(self, text):
        self.streams.say(self.replica, text)

    def emit(self, payload, **more):
        self.rooms.emit(CHAT, ROOM, "event", payload, **more)


def chunks(member):
    return [(data["offset"], data["content"]) for event, data in member.got if event == "chat:chunk"]


def test_what_is_said_before_anybody_takes_is_one_frame_that_all_share():
    scene = Scene()
    one, two, other = scene.member(), scene.member(), scene.member(WIRES[1])
    for text in ("a", "\u00e9\U0001f600", 'c"'):
        scene.say(text)
    assert one.outbox.take(100)[0] is two.outbox.take(100)[0]
    other.read()
    assert chunks(other) == [(0, 'a\u00e9\U0001f600c"')]
    assert one.socket.told == [SOON], "a drain is told once of text, however much"


def test_once_somebody_has_taken_a_new_frame_begins():
    scene = Scene()
    one, two = scene.member(), scene.member()
    scene.say("ab")
    one.read()
    scene.say("cd")
    scene.say("ef")
    one.read()
    two.read()
    assert chunks(one) == chunks(two) == [(0, "ab"), (2, "cdef")]


def test_a_frame_that_is_long_enough_grows_no_more():
    scene = Scene()
    member = scene.member()
    text = "x" * 100
    for _ in range(30):
        scene.say(text)
    member.read()
    sizes = [len(content) for _, content in chunks(member)]
    assert all(JOINED - 100 < size <= JOINED for size in sizes[:-1])
    assert sum(sizes) == 3_000
    scene.say("y" * JOINED)
    scene.say("z")
    member.read()
    assert chunks(member)[-2:] == [(3_000, "y" * JOINED), (3_000 + JOINED, "z")]


def test_the_outbox_counts_what_waits_and_counts_it_off():
    scene = Scene()
    member = scene.member()
    scene.say("x")
    assert member.outbox.size >= JOINED
    scene.emit("event")
    while member.read(limit=1):
        pass
    assert member.outbox.size == 0


def test_an_outbox_never_holds_more_than_it_counts_however_long_the_text_that_follows():
    scene = Scene()
    member = scene.member(limits=OutboxLimits(high=10_000_000, hard=20_000_000))  # all of it is queued
    for _ in range(8):
        scene.say("x")
        scene.say("y" * 60_000)
    counted = member.outbox.size
    assert counted >= sum(map(len, member.outbox.take(1_000_000))) - 16 * 200, "but for what surrounds the text"


def test_nothing_is_joined_over_an_event():
    scene = Scene()
    member = scene.member()
    scene.say("before")
    scene.emit("event")
    scene.say("after")
    member.read()
    assert [event for event, _ in member.got] == ["chat:chunk", "event", "chat:chunk"]
    assert chunks(member) == [(0, "before"), (6, "after")]


def test_nothing_is_joined_over_a_value():
    scene = Scene()
    member = scene.member()
    scene.say("a")
    scene.streams.append_now(scene.replica, {"content": "b"}, [Value("progress", 1, "progress", {"progress": 5})])
    scene.say("c")
    member.read()
    assert chunks(member) == [(0, "a"), (1, "b"), (2, "c")]


def test_thinking_is_joined_too_and_channels_are_kept_apart():
    scene = Scene()
    member = scene.member()
    scene.say("a")
    for text in ("m", "n", "o"):
        scene.streams.append_now(scene.replica, {"thinking": text}, ())
    scene.say("b")
    scene.streams.append_now(scene.replica, {"thinking": "p", "content": "c"}, ())
    member.read()
    assert chunks(member) == [(0, "a"), (1, ""), (1, "b"), (2, "c")]
    thoughts = [data["result"]["thinking"] for _, data in member.got if "result" in data]
    assert thoughts == [{"content": "mno", "offset": 0}, {"content": "p", "offset": 3}]


@pytest.mark.parametrize("change", ["enter", "leave", "join"])
def test_nothing_is_joined_over_a_change_of_who_is_in_the_room(change):
    scene = Scene()
    member, other = scene.member(), scene.member()
    scene.say("a")
    if change == "enter":
        scene.member()
    elif change == "leave":
        scene.rooms.leave(other, ROOM)
    else:
        scene.rooms.join(other, ROOM).__enter__()
    scene.say("b")
    member.read()
    assert chunks(member) == [(0, "a"), (1, "b")]


def test_a_member_that_reads_its_cursor_meanwhile_gets_what_follows_once():
    scene = Scene()
    quick, slow = scene.member(), scene.member(limits=OutboxLimits(high=10))
    slow.outbox.put(b'{"event": "x", "data": "much that waits"}')
    scene.say("a")
    assert any(isinstance(item, CatchUp) for item in slow.outbox.queue)
    while slow.read():
        pass
    scene.say("b")
    slow.read()
    quick.read()
    assert chunks(slow) == chunks(quick) == [(0, "a"), (1, "b")]


async def test_nothing_is_said_after_the_end():
    scene = Scene()
    member = scene.member()
    scene.say("a")
    await scene.streams.end(scene.replica, Ending(EndingStatus.COMPLETED))
    with pytest.raises(Sealed):
        scene.say("b")
    member.read()
    assert chunks(member) == [(0, "a")]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
WHO = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(st.just("say"), TEXT),
    st.tuples(st.just("say"), TEXT),
    st.tuples(st.just("long"), st.just("x" * (JOINED + 1))),
    st.tuples(st.just("think"), TEXT),
    st.tuples(st.just("value"), st.integers(0, 100)),
    st.tuples(st.just("event"), st.none()),
    st.tuples(st.just("read"), WHO),
    st.tuples(st.just("sip"), WHO),
    st.tuples(st.just("leave"), WHO),
    st.tuples(st.just("join"), st.tuples(WHO, TEXT)),
    st.tuples(st.just("resume"), st.tuples(WHO, TEXT)),
)


class Story(Scene):
    """Members that come and go, read or do not; each must be told everything from where it came in, once."""

    def __init__(self):
        super().__init__()
        self.members = [Member(WIRES[n % 2], OutboxLimits(high=1_500 if n == 4 else 65_536)) for n in range(5)]
        self.version = 0

    def do(self, step, what):
        getattr(self, step)(what)

    long = Scene.say

    def value(self, progress):
        self.version += 1
        self.streams.append_now(self.replica, {}, [Value("progress", self.version, "progress", {"progress": progress})])

    def think(self, text):
        self.streams.append_now(self.replica, {"thinking": text}, ())

    def event(self, _):
        self.emit(self.replica.length())

    def read(self, who):
        while self.members[who].read():
            pass

    def sip(self, who):
        self.members[who].read(limit=1)

    def leave(self, who):
        member = self.members[who]
        if self.rooms.leave(member, ROOM):
            self.read(who)
            self.check(member, whole=False)
        member.got.clear()

    def join(self, what, first=lambda: ()):
        who, meanwhile = what
        member = self.members[who]
        with self.rooms.join(member, ROOM) as joining:
            self.say(meanwhile)
            member.outbox.put(b'{"event": "ack", "data": %d}' % (0 if first() else self.replica.length()))
            joining.complete(1, first())

    def resume(self, what):
        self.join(what, lambda: (self.streams.cursor(self.replica, offset=0),))

    def check(self, member, *, whole=True):
        """From each ack on text goes on where that says, and events come behind the text before them.

        Who leaves or joins anew loses what waited for it; a new ack tells of that.
        """
        acks = sum(event == "ack" for event, _ in member.got)
        at = thought = None
        for event, data in member.got:
            settled = whole and not acks
            if event == "ack":
                acks, at, thought = acks - 1, data, None
            elif event == "chat:chunk":
                assert data["offset"] == at
                at += len(data["content"])
                if thinking := data.get("result", {}).get("thinking"):
                    assert thinking["offset"] == thought or thought is None
                    thought = thinking["offset"] + len(thinking["content"])
            else:
                assert not settled or data <= at
        assert at == self.replica.length() or not whole


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(STEPS), max_size=60))
def test_whatever_happens_each_member_is_told_everything_once_and_in_order(steps):
    story = Story()
    for who in (0, 1, 4):
        story.join((who, "x"))
    for step, what in steps:
        story.do(step, what)
    for who, member in enumerate(story.members):
        story.read(who)
        story.check(member, whole=ROOM in member.rooms)


def test_text_that_was_gathered_already_leaves_at_once_with_what_waits():
    scene = Scene()
    member = scene.member()
    scene.say("a")
    scene.streams.say(scene.replica, "b", gathered=True)
    assert member.socket.told[0] == SOON
    scene.member().read()
    scene.streams.say(scene.replica, "c", gathered=True)
    assert member.socket.told == [SOON, NOW]
    member.read()
    assert "".join(data["content"] for _, data in member.got) == "abc"
