"""What waits for a connection, in order; who hears of a room, and when."""

from contextlib import contextmanager, suppress

from wegent.codec import decode
from wegent.core.catchup import CatchUp, Chunk, Delta, Emission
from wegent.core.clock import VirtualClock
from wegent.core.errors import StoreAway
from wegent.core.instruments import Registry
from wegent.core.model import Ending, EndingStatus, StreamId, Text, Value
from wegent.core.namespaces import Namespace
from wegent.core.outbox import MOST_CURSORS, NOT, Drain, Outbox, OutboxLimits
from wegent.core.replica import Replica
from wegent.core.rooms import HELD_LIMIT, Rooms
from wegent.core.sessions import Connection, Sessions
from wegent.core.timers import Timers
from wegent.server.telling import ChatVoice
from wegent.testing.memory_transport import JsonWire

STREAM = StreamId(1, 2, 1)
WIRE = JsonWire()
RENDER = ChatVoice().chunk


class Notified(Drain):
    def __init__(self):
        self.times = 0

    def notify(self, outbox):
        self.times += 1


class Wired(Connection):
    transport = "test"

    def __init__(self, limits=None, wire=WIRE):
        self.closed = None
        self.outbox = Outbox(wire, limits or OutboxLimits(), self.overflow)
        self.overflows = 0

    def overflow(self):
        self.overflows += 1

    def close(self, why):
        self.closed = why

    def disconnect(self, session, why):
        self.closed = why

    def start_soon(self, call, *args):
        raise NotImplementedError


class Bench:
    def __init__(self):
        self.rooms = Rooms(Registry())
        self.sessions = Sessions(self.rooms, Timers(), VirtualClock(), Registry())
        self.count = 0

    async def session(self, limits=None):
        self.count += 1
        space = Namespace("/x")
        return await self.sessions.open(
            Wired(limits), space, id=f"s{self.count}", auth=None, greet=lambda session: None
        )

    def say(self, replica, text, values=()):
        offset = replica.length()
        replica.apply([Text("content", offset, text), *values])
        chunk = Chunk(replica.stream, {"content": (offset, text)}, tuple(values), replica.length())
        self.rooms.emit_chunk("/x", "r", replica, chunk, RENDER)


def read(session, limit=1_000_000):
    """Everything that waits, as (event, data)."""
    got = []
    while frames := session.outbox.take(limit):
        got += [decode(frame) for frame in frames]
    return [(each.get("event", "ack"), each["data"]) for each in got]


@contextmanager
def failed_join(bench, session):
    """A join whose rows can't be read."""
    with suppress(StoreAway), bench.rooms.join(session, "r"):
        yield
        raise StoreAway("the database does not answer")


def texts(frames):
    return [(data["offset"], data["content"]) for name, data in frames if name == "chat:chunk"]


def test_frames_come_out_in_order_and_within_the_limit():
    box = Outbox(WIRE, OutboxLimits(), lambda: None)
    for n in range(10):
        box.put(bytes([n]) * 10)
    assert [frame[0] for frame in box.take(35)] == [0, 1, 2]
    assert len(box.take(5)) == 1
    assert len(box.take(1_000)) == 6
    assert box.take(10) == []
    assert box.size == 0


def test_a_drain_is_told_once_until_it_says_so():
    box, drain = Outbox(WIRE, OutboxLimits(), lambda: None), Notified()
    box.put(b"early")
    box.attach(drain)
    box.put(b"x")
    assert drain.times == 1
    box.take(100)
    box.scheduled = NOT
    box.put(b"y")
    assert drain.times == 2


def test_past_the_hard_limit_the_connection_is_given_up():
    over = []
    box = Outbox(WIRE, OutboxLimits(high=10, hard=100), lambda: over.append(1))
    box.put(b"x" * 100)
    assert not over
    box.put(b"x")
    assert over


def delta(replica, text, values=()):
    offset = replica.length()
    replica.apply([Text("content", offset, text), *values])
    return Delta(replica, Chunk(replica.stream, {"content": (offset, text)}, tuple(values), 0), RENDER, "/x", "r")


def test_above_the_high_mark_one_cursor_stands_for_all_deltas():
    box, replica = Outbox(WIRE, OutboxLimits(high=50), lambda: None), Replica(STREAM)
    for n in range(100):
        value = Value("block:b", n + 1, "block", {"id": "b", "version": n + 1})
        box.put_delta(delta(replica, f"{n},", [value]))
    assert len(box.queue) == 2
    assert box.lagging is not None
    frames = [frame.decode() for frame in box.take(1_000_000)]
    assert len(frames) == 2
    assert '"version":100' in frames[1]
    assert '"version":99' not in frames[1]
    assert box.lagging is None
    box.put_delta(delta(replica, "live"))
    assert b"live" in box.take(100)[0]


def test_an_ending_stays_behind_its_text():
    box, replica = Outbox(WIRE, OutboxLimits(high=0), lambda: None), Replica(STREAM)
    box.put_delta(delta(replica, "a" * 1_200_000))
    replica.ending = Ending(EndingStatus.COMPLETED)
    box.put(b"ending")
    assert box.drop_cursor(STREAM) is None
    frames = []
    while got := box.take(65_536):
        frames += got
    assert frames[-1] == b"ending"
    assert len(frames) == 4
    assert max(map(len, frames)) < 512 * 1024


def test_two_cursors_of_one_stream_do_not_forget_each_other():
    box, replica = Outbox(WIRE, OutboxLimits(high=0), lambda: None), Replica(STREAM)
    box.put_delta(delta(replica, "old"))
    replica.ending = Ending(EndingStatus.COMPLETED)
    again = CatchUp(replica, RENDER, namespace="/x", room="r", offsets={})
    box.put_cursor(again)
    assert len(box.queue) == 2
    assert len(box.take(1)) == 1
    assert box.lagging == {STREAM: again}
    assert len(box.take(1)) == 1
    assert box.take(1) == []
    assert box.lagging is None


def test_too_many_cursors_are_too_much():
    over = []
    box = Outbox(WIRE, OutboxLimits(), lambda: over.append(1))
    for n in range(MOST_CURSORS + 1):
        box.put_cursor(CatchUp(Replica(StreamId(1, n, 1)), RENDER, namespace="/x", room="r", offsets={}))
    assert over


async def test_a_frame_is_spelled_once_for_all_and_never_for_those_skipped():
    bench = Bench()
    one, two, three = [await bench.session() for _ in range(3)]
    for session in (one, two, three):
        bench.rooms.enter(session, "r")
    bench.rooms.emit("/x", "r", "e", {"n": 1}, skip=two)
    assert one.outbox.queue[0] is three.outbox.queue[0]
    assert read(two) == []


async def test_one_who_overflows_and_leaves_at_once_disturbs_nobody():
    bench = Bench()
    sessions = [await bench.session(OutboxLimits(high=1, hard=10)) for _ in range(5)]
    for session in sessions:
        bench.rooms.enter(session, "r")
        session.connection.overflow = session.end
        session.outbox._overflow = session.end
    bench.rooms.emit("/x", "r", "e", {"n": "x" * 100})
    assert bench.rooms.get("/x", "r") is None


async def test_who_joins_gets_text_from_exactly_the_acks_offset_and_newer_events_only():
    bench, replica = Bench(), Replica(STREAM, revision=3)
    session = await bench.session()
    bench.say(replica, "before ")
    with bench.rooms.join(session, "r") as joining:
        bench.rooms.emit("/x", "r", "old", {"n": 1}, revision=5)
        bench.rooms.emit("/x", "r", "new", {"n": 2}, revision=6)
        bench.say(replica, "while joining ")
        later = Replica(StreamId(1, 9, 1), revision=7)
        bench.say(later, "another")
        assert read(session) == []
        session.outbox.put(WIRE.ack("/x", 1, {"text": replica.text()}))
        joining.complete(5)
    bench.say(replica, "after")
    frames = read(session)
    assert [name for name, _ in frames] == ["ack", "new", "chat:chunk", "chat:chunk"]
    assert frames[0][1]["text"] == "before while joining "
    assert texts(frames) == [(0, "another"), (21, "after")]


async def test_a_resume_drops_only_what_is_told_of_its_own_stream():
    bench, mine, other = Bench(), Replica(STREAM, revision=2), Replica(StreamId(1, 8, 1), revision=3)
    session = await bench.session()
    bench.rooms.enter(session, "r")
    with bench.rooms.join(session, "r") as joining:
        bench.say(mine, "mine")
        bench.say(other, "other")
        bench.rooms.emit("/x", "r", "start", {}, revision=2, stream=STREAM)
        bench.rooms.emit("/x", "r", "message", {}, revision=4)
        cursor = CatchUp(mine, RENDER, namespace="/x", room="r", offsets={"content": 1})
        joining.complete(5, [cursor], of=STREAM)
    frames = read(session)
    assert [name for name, _ in frames] == ["chat:chunk", "chat:chunk", "message"]
    assert texts(frames) == [(1, "ine"), (0, "other")]


async def test_a_join_that_fails_puts_members_back_with_what_they_missed():
    bench, replica = Bench(), Replica(STREAM, revision=1)
    member, stranger = await bench.session(), await bench.session()
    bench.rooms.enter(member, "r")
    for session in (member, stranger):
        with failed_join(bench, session):
            bench.say(replica, "x")
            bench.rooms.emit("/x", "r", "e", {}, revision=1)
    bench.say(replica, "y")
    frames = read(member)
    assert "".join(text for _, text in texts(frames)) == "xxy"
    assert [name for name, _ in frames if name != "chat:chunk"] == ["e", "e"]
    assert read(stranger) == []
    assert stranger.rooms == {}


async def test_who_is_put_out_while_joining_does_not_come_back():
    bench = Bench()
    session = await bench.session()
    with bench.rooms.join(session, "r") as joining:
        bench.rooms.leave(session, "r")
        joining.complete(1)
    bench.rooms.emit("/x", "r", "e", {})
    assert read(session) == []
    assert bench.rooms.get("/x", "r") is None


async def test_of_two_joins_at_once_the_later_takes_over():
    bench, replica = Bench(), Replica(STREAM, revision=1)
    session = await bench.session()
    with bench.rooms.join(session, "r") as first:
        bench.say(replica, "a")
        with bench.rooms.join(session, "r") as second:
            first.complete(9)
            bench.say(replica, "b")
            second.complete(0)
    bench.say(replica, "c")
    assert "".join(text for _, text in texts(read(session))) == "abc"


async def test_too_much_for_one_who_joins_starts_the_join_anew():
    bench = Bench()
    session = await bench.session()
    with bench.rooms.join(session, "r") as joining:
        bench.rooms.emit("/x", "r", "big", {"x": "x" * HELD_LIMIT}, revision=1)
        assert joining.overflowed
        bench.rooms.emit("/x", "r", "lost", {}, revision=2)
        joining.restart()
        assert not joining.overflowed
        bench.rooms.emit("/x", "r", "kept", {}, revision=3)
        joining.complete(2)
    assert [name for name, _ in read(session)] == ["kept"]


async def test_a_member_whose_join_overflows_and_fails_comes_back_anew():
    bench = Bench()
    session = await bench.session()
    bench.rooms.enter(session, "r")
    with failed_join(bench, session):
        bench.rooms.emit("/x", "r", "big", {"x": "x" * HELD_LIMIT}, revision=1)
        bench.rooms.emit("/x", "r", "lost", {}, revision=2)
    assert session.connection.closed.come_back


async def test_a_status_does_not_overtake_what_is_held():
    bench = Bench()
    session = await bench.session()
    bench.rooms.enter(session, "user")
    with bench.rooms.join(session, "r") as joining:
        bench.rooms.emit("/x", "r", "done", {}, revision=2)
        bench.rooms.emit("/x", "user", "status", {}, behind="r")
        assert read(session) == []
        joining.complete(1)
    assert [name for name, _ in read(session)] == ["done", "status"]


async def test_who_leaves_gets_no_more_and_a_room_without_members_is_gone():
    bench, replica = Bench(), Replica(STREAM)
    session = await bench.session(OutboxLimits(high=0))
    bench.rooms.enter(session, "r")
    bench.say(replica, "secret")
    assert bench.rooms.leave(session, "r")
    assert not bench.rooms.leave(session, "r")
    assert read(session) == []
    assert bench.rooms.get("/x", "r") is None


async def test_a_change_of_wire_keeps_rooms_and_spells_anew():
    bench = Bench()
    session = await bench.session()
    bench.rooms.enter(session, "r")

    class Loud(JsonWire):
        def event(self, namespace, event, payload, ack_id=None):
            return super().event(namespace, event.upper(), payload, ack_id)

    bench.rooms.rewire([session], Loud())
    bench.rooms.emit("/x", "r", "e", {})
    assert [name for name, _ in read(session)] == ["E"]


def test_a_spelling_is_kept_by_wire():
    emission = Emission("/x", "e", {"a": 1})
    assert emission.spell(WIRE) is emission.spell(WIRE)
    assert emission.spell(JsonWire()) == emission.spell(WIRE)
