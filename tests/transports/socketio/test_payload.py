"""Engine.IO packets and long-polling payloads, alone and against another implementation."""

import engineio.packet
import engineio.payload
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wegent.transports.socketio.packet import event
from wegent.transports.socketio.payload import (
    BINARY,
    CLOSE,
    MAX_PACKETS,
    MESSAGE,
    NOOP,
    OPEN,
    PING,
    PONG,
    SEPARATOR,
    UPGRADE,
    decode_packet,
    decode_payload,
    encode_packet,
    encode_payload,
    message_frames,
    message_payload,
    open_packet,
)
from wegent.transports.socketio.values import PacketError
from wegent.transports.ws import BINARY as BINARY_FRAME
from wegent.transports.ws import TEXT, Decoder


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        (b'0{"sid":"x"}', (OPEN, b'{"sid":"x"}')),
        (b"1", (CLOSE, b"")),
        (b"2probe", (PING, b"probe")),
        (b"3", (PONG, b"")),
        (b'42["a"]', (MESSAGE, b'2["a"]')),
        (b"5", (UPGRADE, b"")),
        (b"6", (NOOP, b"")),
        (b"bAQID", (BINARY, b"\x01\x02\x03")),
        (b"b", (BINARY, b"")),
    ],
)
def test_packet_is_read_and_written(text: bytes, packet: tuple[int, bytes]) -> None:
    assert decode_packet(text) == packet
    assert encode_packet(*packet) == text


@pytest.mark.parametrize("text", [b"", b"7", b"B", b"x", b"b=", b"bAQI", b"bAQ=I", b"b AQID", b"b\xff", b"/", b":"])
def test_malformed_packet_is_refused(text: bytes) -> None:
    with pytest.raises(PacketError):
        decode_packet(text)


@pytest.mark.parametrize("body", [b"", SEPARATOR, b"4a" + SEPARATOR, SEPARATOR + b"4a", b"4\xff", b"4a\x1e9"])
def test_malformed_payload_is_refused(body: bytes) -> None:
    with pytest.raises(PacketError):
        decode_payload(body)


def test_number_of_packets_is_limited() -> None:
    assert len(decode_payload(SEPARATOR.join([b"2"] * 3), 3)) == 3
    with pytest.raises(PacketError, match="at most 3"):
        decode_payload(SEPARATOR.join([b"2"] * 4), 3)
    with pytest.raises(PacketError):
        decode_payload(SEPARATOR.join([b"2"] * (MAX_PACKETS + 1)))


def test_open_packet_speaks_milliseconds() -> None:
    kind, data = decode_packet(open_packet("w1.abc", ("websocket",), 25, 20, 1_000_000))
    assert kind == OPEN
    assert msgspec.json.decode(data) == {
        "sid": "w1.abc",
        "upgrades": ["websocket"],
        "pingInterval": 25000,
        "pingTimeout": 20000,
        "maxPayload": 1000000,
    }


def test_message_is_frames_or_a_payload() -> None:
    parts = event("/", "a", [b"one", b"two"])
    decoder = Decoder(1000, masked=False)
    assert decoder.feed(message_frames(parts)) == [
        (TEXT, b"4" + parts[0]),
        (BINARY_FRAME, b"one"),
        (BINARY_FRAME, b"two"),
    ]
    assert decode_payload(message_payload(parts)) == [(MESSAGE, parts[0]), (BINARY, b"one"), (BINARY, b"two")]
    assert message_payload([b"1"]) == b"41"
    assert message_frames([b"1"]) == b"\x81\x0241"


text = st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]), max_size=30).map(str.encode)
packets = st.one_of(
    st.tuples(st.integers(OPEN, NOOP), text),
    st.tuples(st.just(BINARY), st.binary(max_size=30)),
)


@settings(deadline=None)
@given(st.lists(packets, min_size=1, max_size=8))
def test_payload_that_was_written_is_read(sent: list[tuple[int, bytes]]) -> None:
    assert decode_payload(encode_payload(sent)) == sent


# The other implementation decodes the text of a message as JSON where it can, so its messages are no JSON here.
messages = st.one_of(
    st.tuples(st.just(MESSAGE), st.text("abc é😀", min_size=1, max_size=30).map(lambda t: ("x" + t).encode())),
    st.tuples(st.just(BINARY), st.binary(max_size=30)),
)


@settings(deadline=None)
@given(st.lists(messages, min_size=1, max_size=8))
def test_another_implementation_reads_and_writes_the_same(sent: list[tuple[int, bytes]]) -> None:
    body = encode_payload(sent)
    payload = engineio.payload.Payload(encoded_payload=body.decode())
    assert [p.data if p.binary else p.data.encode() for p in payload.packets] == [data for _, data in sent]
    assert [bool(p.binary) for p in payload.packets] == [kind == BINARY for kind, _ in sent]
    written = engineio.payload.Payload(
        packets=[engineio.packet.Packet(MESSAGE, data if kind == BINARY else data.decode()) for kind, data in sent]
    )
    assert decode_payload(written.encode().encode()) == sent


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"4", b"b", b"\x1e", b"=", b"AQID", b"2"]) | st.binary(max_size=3), max_size=12))
def test_random_payloads_raise_nothing_else(parts: list[bytes]) -> None:
    body = b"".join(parts)
    try:
        assert encode_payload(decode_payload(body)) == body or b"b" in body
    except PacketError:
        return
