"""What is fuzzed. To add a parser: write a function that takes bytes, and enter it in TARGETS.

A target swallows the errors that its parser declares, and asserts what must hold; anything that it raises is a
finding. What it does must depend on its input alone, so that the input is enough to see it again.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from random import Random

from attrs import frozen

from wegent import codec
from wegent.core.errors import InvalidPayload
from wegent.documents import DocumentError, read_documents, read_yaml, write_yaml
from wegent.engines.sse import EventParser
from wegent.protocol.fields import json_fault
from wegent.transports.socketio import packet as sio
from wegent.transports.socketio.payload import BINARY as BINARY_PACKET
from wegent.transports.socketio.payload import MESSAGE, decode_packet, decode_payload, encode_payload
from wegent.transports.socketio.values import PacketError
from wegent.transports.ws import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Connection,
    Decoder,
    Event,
    HandshakeError,
    accept,
    close_frame,
    frame,
    is_upgrade,
    parse_request,
    refusal,
    subprotocols,
)
from wegent.transports.ws.client import check_response, masked_frame, upgrade_request
from wegent.transports.ws.frames import close_payload

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x0f\xf0\x55\xaa"
LIMIT = 2000
GAP = b"\xff\xff"  # between the text of a packet and its attachments


@frozen
class Target:
    """A function to feed, and inputs to begin with; it gets these, and changed ones."""

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def pieces(data: bytes) -> list[bytes]:
    """`data` cut at points that depend on it alone."""
    random = Random(data)
    edges = sorted({0, len(data), *(random.randrange(len(data) + 1) for _ in range(random.randrange(6)))})
    return [data[a:b] for a, b in pairwise(edges)]


def masked_frames(data: bytes) -> None:
    frames(data, masked=True)


def server_frames(data: bytes) -> None:
    frames(data, masked=False)


def frames(data: bytes, *, masked: bool) -> None:
    """The verdict on a stream does not depend on how it is cut; text is UTF-8; limits hold."""
    verdicts = []
    for cut in ([data], pieces(data)):
        decoder = Decoder(LIMIT, masked=masked)
        events: list[Event] = [event for chunk in cut for event in decoder.feed(chunk)]
        verdicts.append((events, decoder.error and (decoder.error.code, decoder.error.reason)))
    assert verdicts[0] == verdicts[1]
    for opcode, payload in verdicts[0][0]:
        assert len(payload) <= (LIMIT if opcode in (TEXT, BINARY) else 125)
        if opcode == TEXT:
            payload.decode()


def machine(data: bytes) -> None:
    """What a connection sends is well-formed, and ends with its close frame."""
    connection = Connection(LIMIT)
    peer = Decoder(LIMIT, masked=False)
    said: list[Event] = []
    for number, chunk in enumerate(pieces(data)):
        connection.receive(chunk)
        if number == 3:
            connection.close(4001, "enough")
        out = connection.outgoing()
        assert not (out and peer.error)
        said += peer.feed(out)
    connection.eof()
    assert peer.error is None
    assert [opcode for opcode, _ in said].count(CLOSE) <= 1
    assert all(opcode == PONG for opcode, _ in said[:-1])
    assert connection.code


def request_head(data: bytes) -> None:
    try:
        request = parse_request(data)
        request.parameter("sid")
        is_upgrade(request)
        subprotocols(request)
        head = accept(request)
    except HandshakeError as error:
        refusal(error.status, error.reason, error.headers)
    else:
        check_response(head, request.headers["sec-websocket-key"])


def response_head(data: bytes) -> None:
    with suppress(HandshakeError):
        check_response(data, KEY)


def packet(data: bytes) -> None:
    """A packet that is taken can be written again and is then the same."""
    text, *attachments = data.split(GAP)
    try:
        found = feed(text, attachments)
    except PacketError:
        return
    if found is None or found.kind not in (sio.EVENT, sio.ACK) or b"_placeholder" in data:
        return
    if found.kind == sio.EVENT:
        parts = sio.event(found.namespace, found.data[0], found.data[1:], found.ack_id)
    else:
        assert found.ack_id is not None
        parts = sio.ack(found.namespace, found.ack_id, found.data)
    assert feed(parts[0], parts[1:]) == found


def feed(text: bytes, attachments: list[bytes]) -> sio.Packet | None:
    decoder = sio.Decoder(LIMIT)
    found = decoder.text(text)
    for data in attachments:
        found = decoder.binary(data)
    return found


def payload(data: bytes) -> None:
    """A payload that is taken can be written again and is then the same."""
    try:
        packets = decode_payload(data, 100)
    except PacketError:
        return
    assert decode_payload(encode_payload(packets), 100) == packets
    for kind, content in packets:
        if kind == MESSAGE:
            packet(content)


def single_packet(data: bytes) -> None:
    with suppress(PacketError):
        kind, content = decode_packet(data)
        assert kind == BINARY_PACKET or content == data[1:]


def event_stream(data: bytes) -> None:
    """The events of a stream do not depend on how it is cut."""
    verdicts = []
    for cut in ([data], pieces(data)):
        parser = EventParser(max_line=LIMIT, max_event=LIMIT)
        try:
            verdicts.append([event for chunk in cut for event in parser.feed(chunk)])
        except InvalidPayload:
            return
    assert verdicts[0] == verdicts[1]


def json_text(data: bytes) -> None:
    """JSON that is taken can be written, and is then the same."""
    with suppress(codec.CodecError):
        value = codec.decode(data)
        assert codec.decode(codec.encode(value)) == value
    with suppress(codec.CodecError):
        codec.decode_loose(data)


def yaml_text(data: bytes) -> None:
    """Documents that are taken, and are what kinds may hold, can be written as YAML, and are then the same."""
    try:
        found = [each for each in read_documents(data) if each is not None]
    except DocumentError:
        return
    if json_fault(found) is None:
        assert codec.canonical(read_yaml(write_yaml(found))) == codec.canonical(found)


MASKED_FRAMES = [
    masked_frame(b'42/chat,7["chat:send",{"message":"hello"}]', mask=MASK),
    masked_frame("héllo 😀".encode() * 20, mask=MASK),
    masked_frame(bytes(range(256)), BINARY, MASK),
    masked_frame(b"p", PING, MASK) + masked_frame(b"", PONG, MASK),
    b"\x01" + masked_frame(b"ab\xc3", mask=MASK)[1:] + b"\x80" + masked_frame(b"\xa9", mask=MASK)[1:],
    masked_frame(close_payload(1000, "bye"), CLOSE, MASK),
]

SERVER_FRAMES = [frame(b"text"), frame(b"x" * 300, BINARY), frame(b"", PING), close_frame(4001, "later")]

REQUESTS = [
    upgrade_request("localhost:8000", "/ws/chat", KEY, [("Sec-WebSocket-Protocol", "a, b")]),
    upgrade_request(
        "h", "/socket.io/?EIO=4&transport=websocket&sid=w.1", KEY, [("Origin", "http://a"), ("Cookie", "a=b")]
    ),
    b"POST http://h:80/socket.io/?EIO=4 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
]

RESPONSES = [b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"]

PACKETS = [
    b"0/chat," + b'{"token":"x"}',
    b"1/chat,",
    b'2/chat,17["chat:send",{"task_id":1,"message":"h\\u00e9 \\ud83d\\ude00","more":[1.5,true,null]}]',
    b'3/chat,17[{"success":true}]',
    b'4{"message":"no"}',
    GAP.join(sio.event("/", "up", [{"a": [b"one"]}, b"two"], 3)),
    GAP.join(sio.ack("/chat", 3, [b"one"])),
    b'2["a",' + b"[" * 70 + b"]" * 70 + b"]",
]

PAYLOADS = [b'42["a"]\x1e2probe\x1ebAQID\x1e6', b"0{}", *(b"4" + each for each in PACKETS)]

EVENT_STREAMS = [b"data: a\ndata: b\r\n\r\nevent: x\rid: 1\rdata:c\r\r", b"\xef\xbb\xbf: hi\nretry: 10\ndata\n\n"]

DOCUMENTS = [
    b"kind: Ghost\nmetadata: {name: g, a: 'b'}\nspec:\n  systemPrompt: |\n    One.\n    Two.\n---\n- 1.5e3\n- ~\n",
    b'{"a": [1, true, null, "x\\n"], "b": {}}',
    b"a: &x [1]\nb: *x\nc: !t x\n? k\n: >-\n  folded\n  text\n...\n# end\n",
    b"\"\\u00e9\\x41\\0\": 0o17\n'it''s': .inf\n%YAML 1.2\n",
]

TARGETS: dict[str, Target] = {
    "ws-frames": Target(masked_frames, MASKED_FRAMES),
    "ws-server-frames": Target(server_frames, SERVER_FRAMES),
    "ws-connection": Target(machine, MASKED_FRAMES),
    "http-request": Target(request_head, REQUESTS),
    "http-response": Target(response_head, RESPONSES),
    "socketio-packet": Target(packet, PACKETS),
    "engineio-payload": Target(payload, PAYLOADS),
    "engineio-packet": Target(single_packet, PAYLOADS),
    "event-stream": Target(event_stream, EVENT_STREAMS),
    "yaml": Target(yaml_text, DOCUMENTS),
    "json": Target(json_text, [each.lstrip(b"0123456789-/chat,") for each in PACKETS]),
}
