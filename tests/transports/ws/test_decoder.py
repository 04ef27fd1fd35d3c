"""The decoder against RFC 6455, and against another implementation."""

from collections.abc import Iterable
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig
from websockets.exceptions import ProtocolError as TheirProtocolError
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from wegent.transports.ws import BINARY, CLOSE, PING, PONG, TEXT, Decoder, Event, close_frame, frame
from wegent.transports.ws import decoder as decoder_module
from wegent.transports.ws.client import masked_frame
from wegent.transports.ws.frames import close_payload
from wegent.transports.ws.masking import apply_mask_in_python

LIMIT = 1 << 20
MASK = b"\x37\xfa\x21\x3d"


@pytest.fixture(params=["c", "python"], autouse=True)
def masking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(decoder_module, "apply_mask", apply_mask_in_python)


def part(payload: bytes, opcode: int, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A masked frame with any first byte."""
    data = masked_frame(payload, BINARY, MASK)
    return bytes(((0x80 if fin else 0) | rsv | opcode,)) + data[1:]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(each % (len(data) + 1) for each in at)})
    return [data[a:b] for a, b in pairwise(edges)]


def run(chunks: Iterable[bytes], limit: int = LIMIT) -> tuple[list[Event], tuple[int, str] | None]:
    decoder = Decoder(limit)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events, (decoder.error.code, decoder.error.reason) if decoder.error else None


def fails(data: bytes, code: int, limit: int = LIMIT) -> str:
    whole = run([data], limit)
    assert run((data[i : i + 1] for i in range(len(data))), limit) == whole
    assert whole[1] is not None
    assert whole[1][0] == code
    return whole[1][1]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 1000, 65535, 65536, 100_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_message_of_any_length_is_read(length: int, opcode: int) -> None:
    assert run([masked_frame(b"a" * length, opcode)]) == ([(opcode, b"a" * length)], None)


def test_server_frames_are_read_without_mask() -> None:
    decoder = Decoder(LIMIT, masked=False)
    data = frame(b"one") + frame(b"two" * 50, BINARY) + frame(b"", PING) + close_frame(1001, "bye")
    expected = [(TEXT, b"one"), (BINARY, b"two" * 50), (PING, b""), (CLOSE, close_payload(1001, "bye"))]
    assert decoder.feed(data) == expected
    assert Decoder(LIMIT, masked=False).feed(masked_frame(b"x")) == []


def test_control_frames_come_between_fragments() -> None:
    data = part(b"a\xc3", TEXT, fin=False) + part(b"!", PING) + part(b"\xa9", 0, fin=False) + part(b"", 0)
    assert run([data]) == ([(PING, b"!"), (TEXT, "aé".encode())], None)


def test_special_tells_of_control_frames_only() -> None:
    decoder = Decoder(LIMIT)
    decoder.feed(part(b"x", TEXT) + part(b"x", BINARY))
    assert not decoder.special
    decoder.feed(part(b"x", TEXT) + part(b"", PONG))
    assert decoder.special
    decoder.feed(part(b"x", TEXT))
    assert not decoder.special


def test_what_precedes_a_violation_is_returned() -> None:
    assert run([part(b"good", TEXT) + part(b"", 3)])[0] == [(TEXT, b"good")]


def test_nothing_follows_a_close_frame() -> None:
    closing = part(close_payload(1000), CLOSE)
    assert run([closing + part(b"late", TEXT), part(b"later", TEXT)]) == ([(CLOSE, b"\x03\xe8")], None)


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (part(b"", TEXT, rsv=0x40), 1002, "reserved"),
        (part(b"", TEXT, rsv=0x20), 1002, "reserved"),
        (part(b"", PING, rsv=0x10), 1002, "reserved"),
        *((part(b"", opcode), 1002, "not defined") for opcode in (3, 7, 0xB, 0xF)),
        (frame(b"x"), 1002, "must mask"),
        (part(b"", PING, fin=False), 1002, "fragmented"),
        (bytes((0x89, 0xFE, 0, 126)) + MASK, 1002, "125"),
        (part(b"", 0), 1002, "continues nothing"),
        (part(b"a", TEXT, fin=False) + part(b"b", TEXT), 1002, "inside"),
        (part(b"", TEXT, fin=False) + part(b"b", BINARY), 1002, "inside"),
        (part(b"a", TEXT) + part(b"b", 0), 1002, "continues nothing"),
        (bytes((0x81, 0xFE, 0, 125)), 1002, "shortest"),
        (bytes((0x81, 0xFF)) + (65535).to_bytes(8, "big"), 1002, "shortest"),
        (bytes((0x81, 0xFF)) + (1 << 63).to_bytes(8, "big"), 1002, "highest bit"),
        (bytes((0x81, 0xFF)) + (LIMIT + 1).to_bytes(8, "big"), 1009, "at most"),
        (part(b"\x03", CLOSE), 1002, "two"),
        (part(b"\x03\xed", CLOSE), 1002, "1005"),
        (part(b"\x03\xe8\xff", CLOSE), 1007, "reason"),
        (part(b"ab\xff", TEXT), 1007, "UTF-8"),
        (part(b"x" * 200 + b"\xed\xa0\x80", TEXT), 1007, "UTF-8"),
        (part(b"\xc3", TEXT), 1007, "UTF-8"),
        (part(b"\xc3", TEXT, fin=False) + part(b"", 0), 1007, "UTF-8"),
    ],
)
def test_violation_is_named(data: bytes, code: int, word: str) -> None:
    assert word in fails(data, code)


@pytest.mark.parametrize("text", [b"ok\xed\xa0", b"ok\xf4\x90", b"ok\xe0\x80", b"ok\xff", b"\xc3\xa9\x80"])
def test_text_that_cannot_become_valid_fails_before_the_frame_is_complete(text: bytes) -> None:
    head = bytes((0x01, 0x80 | 100)) + b"\0\0\0\0"
    for chunks in ([head + text], [head, *(text[i : i + 1] for i in range(len(text)))]):
        assert run(chunks)[1] == (1007, "A text message is not valid UTF-8.")


def test_limit_holds_before_the_payload_and_over_all_fragments() -> None:
    assert run([part(b"x" * 10, TEXT)], 10)[1] is None
    fails(part(b"x" * 11, TEXT), 1009, 10)
    assert "10 bytes" in fails(part(b"x" * 11, TEXT)[:6], 1009, 10)
    fails(part(b"x" * 6, TEXT, fin=False) + part(b"x" * 5, 0)[:6], 1009, 10)


def test_binary_is_not_checked_for_utf8() -> None:
    assert run([part(b"\xff", BINARY, fin=False) + part(b"\xfe", 0)]) == ([(BINARY, b"\xff\xfe")], None)


def test_byte_at_a_time_costs_linear_time() -> None:
    def seconds(size: int) -> float:
        data = masked_frame(b"x" * size)
        decoder = Decoder(LIMIT)
        start = process_time()
        for i in range(len(data)):
            decoder.feed(data[i : i + 1])
        return process_time() - start

    small = min(seconds(20_000) for _ in range(3))
    assert min(seconds(200_000) for _ in range(2)) < 40 * small  # 10 times the bytes; quadratic would be 100


text = st.text(max_size=200).map(str.encode)
messages = st.one_of(
    st.tuples(st.just(TEXT), text),
    st.tuples(st.just(BINARY), st.binary(max_size=200)),
    st.tuples(st.just(BINARY), st.integers(0, 300).map(bytes)),
)
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
cuts = st.lists(st.integers(0, 4000), max_size=20)


@settings(deadline=None)
@given(st.lists(st.tuples(messages, cuts, st.lists(controls, max_size=2)), max_size=6), cuts)
def test_any_fragmentation_and_any_chunks_give_the_same_messages(
    sent: list[tuple[Event, list[int], list[Event]]], at: list[int]
) -> None:
    wire, expected = bytearray(), []
    for (opcode, payload), breaks, between in sent:
        parts = cut(payload, breaks[:4]) or [b""]
        for i, each in enumerate(parts):
            wire += part(each, 0 if i else opcode, fin=i == len(parts) - 1)
            if i == 0 and len(parts) > 1:
                wire += b"".join(part(data, kind) for kind, data in between)
                expected += between
        expected.append((opcode, payload))
    assert run(cut(bytes(wire), at)) == (expected, None)


@settings(deadline=None)
@given(st.binary(max_size=400), cuts, st.sampled_from([0, 1, 10, 125, 126, LIMIT]))
def test_random_bytes_get_the_same_verdict_however_they_are_cut(data: bytes, at: list[int], limit: int) -> None:
    assert run(cut(data, at), limit) == run([data], limit)


def theirs(data: bytes) -> tuple[list[Event], int | None]:
    """What the `websockets` library makes of the same bytes; text checked as it leaves that to its I/O layer."""
    server = ServerProtocol(max_size=LIMIT)
    server.state = server.state.OPEN  # type: ignore[misc]
    server.parser = server.parse()  # type: ignore[misc]
    next(server.parser)
    server.receive_data(data)
    events: list[Event] = []
    opcode, body = 0, b""
    for each in server.events_received():
        assert isinstance(each, Frame)
        if each.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            events.append((int(each.opcode), bytes(each.data)))
            continue
        opcode = int(each.opcode) or opcode
        body += each.data
        if opcode == TEXT and not could_be_utf8(body, each.fin):
            return events, 1007
        if each.fin:
            events.append((opcode, body))
            opcode, body = 0, b""
    match server.parser_exc:
        case None | EOFError():
            return events, None
        case PayloadTooBig():
            return events, 1009
        case UnicodeDecodeError():
            return events, 1007
        case TheirProtocolError():
            return events, 1002
        case other:
            raise other


def could_be_utf8(body: bytes, complete: bool) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return not complete and error.reason == "unexpected end of data"
    return True


def test_the_other_implementation_is_really_asked() -> None:
    assert theirs(part(b"a", TEXT) + part(b"", 3)) == ([(TEXT, b"a")], 1002)
    assert theirs(part(b"a", TEXT) + part(b"", PING)) == ([(TEXT, b"a"), (PING, b"")], None)


first_bytes = st.one_of(st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88]), st.integers(0, 255))


@st.composite
def odd_frames(draw: st.DrawFn) -> bytes:
    payload = draw(st.one_of(text, st.binary(max_size=130), st.sampled_from([b"", b"\x03\xe8", b"\x0f\xa1bye"])))
    data = masked_frame(payload, BINARY, MASK)
    if draw(st.integers(0, 9)) == 0:
        data = frame(payload, BINARY)
    return bytes((draw(first_bytes),)) + data[1:]


@settings(deadline=None)
@given(st.lists(odd_frames(), max_size=6).map(b"".join))
@example(part(b"\xc3", TEXT, fin=False) + part(b"\xa9", 0))
def test_verdicts_are_those_of_another_implementation(data: bytes) -> None:
    events, error = run([data])
    their_events, their_code = theirs(data)
    code = error[0] if error else None
    if {code, their_code} == {1007, 1002}:
        return  # two faults in one stream: which is met first depends on how early text is checked
    if code == 1007 and their_code is None:
        assert events == their_events[: len(events)]  # found before the frame was complete
        return
    if events[-1:] and events[-1][0] == CLOSE and their_code == 1002:
        assert events[:-1] == their_events  # they take no close frame between fragments; §5.4 allows it
        return
    assert (events, code) == (their_events, their_code)
