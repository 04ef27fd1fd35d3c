"""Socket.IO packets, alone and against another implementation."""

from collections.abc import Callable
from enum import Enum
from types import SimpleNamespace
from typing import Any

import attrs
import msgspec
import pytest
import socketio.packet
from hypothesis import given, settings
from hypothesis import strategies as st

from wegent.transports.socketio import packet as sio
from wegent.transports.socketio.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Decoder, Packet
from wegent.transports.socketio.values import MAX_DEPTH, PacketError


def read(parts: list[bytes], decoder: Decoder | None = None) -> Packet:
    """Feed a text and its attachments; only the last one completes the packet."""
    decoder = decoder or Decoder()
    found = decoder.text(parts[0])
    for data in parts[1:]:
        assert found is None
        found = decoder.binary(data)
    assert found is not None
    assert decoder.waiting == 0
    return found


def refused(data: bytes, decoder: Decoder | None = None) -> PacketError:
    with pytest.raises(PacketError) as caught:
        (decoder or Decoder()).text(data)
    assert caught.value.reason.endswith(".")
    return caught.value


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        (b"0", Packet(CONNECT, "/", None, None)),
        (b'0{"token":"x"}', Packet(CONNECT, "/", {"token": "x"}, None)),
        (b"0/chat", Packet(CONNECT, "/chat", None, None)),
        (b"0/chat,", Packet(CONNECT, "/chat", None, None)),
        (b'0/chat,{"token":"x"}', Packet(CONNECT, "/chat", {"token": "x"}, None)),
        (b"1", Packet(DISCONNECT, "/", None, None)),
        (b"1/chat,", Packet(DISCONNECT, "/chat", None, None)),
        (b'2["a"]', Packet(EVENT, "/", ["a"], None)),
        (b'2/chat,["a",1,{"b":null}]', Packet(EVENT, "/chat", ["a", 1, {"b": None}], None)),
        (b'2/chat,17["a"]', Packet(EVENT, "/chat", ["a"], 17)),
        (b'20["a"]', Packet(EVENT, "/", ["a"], 0)),
        (b"3/chat,17[]", Packet(ACK, "/chat", [], 17)),
        (b'3999999999999999["ok"]', Packet(ACK, "/", ["ok"], 999999999999999)),
        (b'4{"message":"no"}', Packet(CONNECT_ERROR, "/", {"message": "no"}, None)),
        (b'4/x,"no"', Packet(CONNECT_ERROR, "/x", "no", None)),
        (b'50-["a"]', Packet(EVENT, "/", ["a"], None)),
        (
            '2["ü",{"_placeholder":true,"num":0}]'.encode(),
            Packet(EVENT, "/", ["ü", {"_placeholder": True, "num": 0}], None),
        ),
    ],
)
def test_text_packet_is_read(data: bytes, packet: Packet) -> None:
    assert Decoder().text(data) == packet


def test_attachments_take_their_places() -> None:
    text = b'52-/chat,3["up",{"_placeholder":true,"num":1},{"in":[{"_placeholder":true,"num":0}]}]'
    assert read([text, b"zero", b"one"]) == Packet(EVENT, "/chat", ["up", b"one", {"in": [b"zero"]}], 3)
    assert read([b'61-3[{"_placeholder":true,"num":0}]', b"\x00"]) == Packet(ACK, "/", [b"\x00"], 3)


def test_decoder_takes_one_packet_after_another() -> None:
    decoder = Decoder()
    for _ in range(3):
        assert read([b'51-["a",{"_placeholder":true,"num":0}]', b"x"], decoder).data == ["a", b"x"]
        assert read([b'2["b"]'], decoder).data == ["b"]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "type"),
        (b"7", "type"),
        (b"x[]", "type"),
        (b"\xff", "type"),
        (b"2", "valid JSON"),
        (b"2[]", "begins with its name"),
        (b"2[1]", "begins with its name"),
        (b'2{"a":1}', "begins with its name"),
        (b'2["connect"]', "reserved"),
        (b'2["disconnecting",1]', "reserved"),
        (b'2["a"', "valid JSON"),
        (b'2["a"] x', "valid JSON"),
        (b'2["a",NaN]', "valid JSON"),
        (b'2["a","\xff"]', "valid JSON"),
        (b'2["a","\\ud800"]', "valid JSON"),
        (b'2["a",1e999]', "valid JSON"),
        (b'2["a",' + b"1" * 5000 + b"]", "valid JSON"),
        (b'2["a",' + b"[" * 5000 + b"]" * 5000 + b"]", "deeper"),
        (b'2["a",' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"]", "deeper"),
        (b'2["a",' + b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b"]", "deeper"),
        (b"3[]", "an id and an array"),
        (b'31{"a":1}', "an id and an array"),
        (b"31", "valid JSON"),
        (b"0[]", "object or nothing"),
        (b'0/chat,1{"a":1}', "have an id"),
        (b"1{}", "no data"),
        (b"4", "valid JSON"),
        (b"4[]", "object or a string"),
        (b'2/chat\xff,["a"]', "UTF-8"),
        (b"2/" + b"n" * 128 + b',["a"]', "at most 128"),
        (b"0/" + b"n" * 128, "at most 128"),
        (b'21234567890123456["a"]', "15 digits"),
        (b'5["a"]', "how many"),
        (b'5-["a"]', "how many"),
        (b'5x-["a"]', "how many"),
        (b'5-1-["a"]', "how many"),
        (b'500001-["a"]', "how many"),
        (b'517-["a"]', "at most 16"),
        (b'51-["a"]', "no placeholder"),
        (b'50-["a",{"_placeholder":true,"num":0}]', "number"),
        (b'51-["a",{"_placeholder":true,"num":1}]', "number"),
        (b'51-["a",{"_placeholder":true,"num":-1}]', "number"),
        (b'51-["a",{"_placeholder":true,"num":true}]', "number"),
        (b'51-["a",{"_placeholder":true,"num":0.0}]', "number"),
        (b'51-["a",{"_placeholder":true,"num":[]}]', "number"),
        (b'51-["a",{"_placeholder":true}]', "number"),
        (b'52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', "twice"),
        (b'51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', "twice"),
    ],
)
def test_malformed_packet_is_refused(data: bytes, word: str) -> None:
    assert word in refused(data).reason


def test_nesting_is_allowed_to_the_limit_whatever_else_is_in_the_packet() -> None:
    deepest = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert Decoder().text(b'2["a",' + deepest + b"]") is not None
    wide = sio.event("/", "a", [[[]] * 500, "[[[[" * 100])
    assert read(wide).data == ["a", [[]] * 500, "[[[[" * 100]


def test_bad_content_of_an_event_can_be_answered() -> None:
    decoder = Decoder()
    error = refused(b'2/chat,7["a","\\ud800"]', decoder)
    assert (error.namespace, error.ack_id) == ("/chat", 7)
    assert read([b'2/chat,8["a"]'], decoder).ack_id == 8


def test_attachments_of_a_refused_event_are_swallowed() -> None:
    decoder = Decoder()
    assert refused(b'52-7["a",', decoder).ack_id == 7
    assert decoder.waiting == 2
    assert decoder.binary(b"x") is None
    assert decoder.binary(b"y") is None
    assert read([b'2["b"]'], decoder).data == ["b"]


def test_what_cannot_be_answered_names_no_namespace() -> None:
    for data in (b"31{}", b"0[]", b'2/chat,1234567890123456["a"]', b'599-["a"]'):
        assert refused(data).namespace is None


def test_text_while_attachments_are_due_is_refused() -> None:
    decoder = Decoder()
    assert decoder.text(b'51-["a",{"_placeholder":true,"num":0}]') is None
    assert decoder.waiting == 1
    assert "attachments were due" in refused(b'2["b"]', decoder).reason


def test_binary_message_of_no_packet_is_refused() -> None:
    with pytest.raises(PacketError, match="belongs to no packet"):
        Decoder().binary(b"x")


def test_size_counts_text_and_attachments() -> None:
    text = b'52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    assert read([text, b"x" * 5, b"y" * 5], Decoder(len(text) + 10)).data == ["a", b"xxxxx", b"yyyyy"]
    decoder = Decoder(len(text) + 9)
    decoder.text(text)
    decoder.binary(b"x" * 5)
    with pytest.raises(PacketError, match="with its attachments"):
        decoder.binary(b"y" * 5)
    assert "at most" in refused(text, Decoder(len(text) - 1)).reason


class Color(Enum):
    RED = "red"


@attrs.frozen
class Inner:
    data: Any


@attrs.frozen
class Payload:
    title: str
    inner: Inner
    color: Color = Color.RED


class Struct(msgspec.Struct):
    data: Any


def test_event_is_written_as_the_protocol_says() -> None:
    assert sio.event("/", "a", []) == [b'2["a"]']
    assert sio.event("/chat", "a", [1, {"b": "ü"}], 5) == ['2/chat,5["a",1,{"b":"ü"}]'.encode()]
    assert sio.ack("/chat", 5, [{"success": True}]) == [b'3/chat,5[{"success":true}]']
    assert sio.ack("/", 0, []) == [b"30[]"]
    assert sio.connect("/") == [b"0"]
    assert sio.connect("/chat", {"sid": "x"}) == [b'0/chat,{"sid":"x"}']
    assert sio.connect_error("/chat", {"message": "no"}) == [b'4/chat,{"message":"no"}']
    assert sio.disconnect("/") == [b"1"]
    assert sio.disconnect("/chat") == [b"1/chat,"]


def test_objects_are_written_by_their_fields() -> None:
    fields = {"title": "t", "inner": {"data": None}, "color": "red"}
    assert read(sio.event("/", "a", [Payload("t", Inner(None))])).data == ["a", fields]
    fields["inner"] = {"data": [b"x"]}
    assert read(sio.event("/", "a", [Payload("t", Inner([b"x"]))])).data == ["a", fields]
    assert sio.event("/", "a", [msgspec.Raw(b'{"b":1}')]) == [b'2["a",{"b":1}]']


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"x", b'{"_placeholder":true,"num":0}'),
        (bytearray(b"x"), b'{"_placeholder":true,"num":0}'),
        (memoryview(b"x"), b'{"_placeholder":true,"num":0}'),
        ({"a": (b"x", 1)}, b'{"a":[{"_placeholder":true,"num":0},1]}'),
        (Struct({"k": b"x"}), b'{"data":{"k":{"_placeholder":true,"num":0}}}'),
        ([msgspec.Raw(b"[1]"), b"x"], b'[[1],{"_placeholder":true,"num":0}]'),
    ],
)
def test_bytes_at_any_depth_become_attachments(value: Any, written: bytes) -> None:
    assert sio.event("/chat", "a", [value], 1) == [b'51-/chat,1["a",' + written + b"]", b"x"]
    assert sio.ack("/", 1, [value]) == [b"61-1[" + written + b"]", b"x"]


def test_odd_containers_are_searched_too() -> None:
    class Named(dict[str, Any]):
        pass

    assert sio.event("/", "a", [Named(k=b"x"), {1, 2}, (b"y",)])[1:] == [b"x", b"y"]


def test_attachments_keep_their_order() -> None:
    parts = sio.event("/", "a", [b"0", {"x": b"1", "y": [b"2"]}, b"0"])
    assert parts[1:] == [b"0", b"1", b"2", b"0"]
    assert read(parts).data == ["a", b"0", {"x": b"1", "y": [b"2"]}, b"0"]


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    parts = sio.event("/", "a", [{"\udc00k": ["x\ud83d", "\ud83d\ude00", "😀"]}, Inner("\ud800")])
    assert read(parts).data == ["a", {"\ufffdk": ["x\ufffd", "\ufffd\ufffd", "😀"]}, {"data": "\ufffd"}]
    assert read(sio.event("/", "a", ["\ud800", b"x"])).data == ["a", "\ufffd", b"x"]


def test_what_json_has_no_form_for_is_a_type_error() -> None:
    for value in (object(), SimpleNamespace(a=1), {(1, 2): 3}, [b"x", object()], ["\ud800", object()]):
        with pytest.raises(TypeError):
            sio.event("/", "a", [value])


def test_nesting_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for args in ([endless], [b"x", endless], ["\ud800", endless]):
        with pytest.raises(PacketError):
            sio.event("/", "a", args)
    with pytest.raises(PacketError):
        sio.connect("/", endless)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
anything = st.recursive(
    scalars | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
namespaces = st.just("/") | st.text("abz/-_é", max_size=20).map(lambda name: "/" + name)
names = st.text(min_size=1).filter(lambda name: name not in sio.RESERVED)
ack_ids = st.none() | st.integers(0, 10**15 - 1)


def is_placeholder_free(value: Any) -> bool:
    return "_placeholder" not in repr(value)


@settings(deadline=None)
@given(namespaces, names, st.lists(anything, max_size=3).filter(is_placeholder_free), ack_ids)
def test_event_that_was_written_is_read(namespace: str, name: str, args: list[Any], ack_id: int | None) -> None:
    assert read(sio.event(namespace, name, args, ack_id), Decoder(10**6, 100)) == Packet(
        EVENT, namespace, [name, *args], ack_id
    )
    if ack_id is not None:
        assert read(sio.ack(namespace, ack_id, args), Decoder(10**6, 100)) == Packet(ACK, namespace, args, ack_id)


def theirs(parts: list[bytes]) -> socketio.packet.Packet:
    packet = socketio.packet.Packet(encoded_packet=parts[0].decode())
    for data in parts[1:]:
        packet.add_attachment(data)
    return packet


@settings(deadline=None)
@given(namespaces, names, st.lists(anything, max_size=3).filter(is_placeholder_free), ack_ids)
def test_another_implementation_reads_what_we_write(
    namespace: str, name: str, args: list[Any], ack_id: int | None
) -> None:
    packet = theirs(sio.event(namespace, name, args, ack_id))
    assert (packet.namespace or "/", packet.data, packet.id) == (namespace, [name, *args], ack_id)


@settings(deadline=None)
@given(namespaces, names, st.lists(anything, max_size=3).filter(is_placeholder_free), ack_ids)
def test_we_read_what_another_implementation_writes(
    namespace: str, name: str, args: list[Any], ack_id: int | None
) -> None:
    encoded = socketio.packet.Packet(EVENT, data=[name, *args], namespace=namespace, id=ack_id).encode()
    first, *rest = encoded if isinstance(encoded, list) else [encoded]
    parts = [first.encode(), *rest]
    assert read(parts, Decoder(10**6, 100)) == Packet(EVENT, namespace, [name, *args], ack_id)


@settings(deadline=None)
@given(namespaces, st.none() | st.dictionaries(st.text(max_size=5), plain, max_size=3))
def test_connects_are_written_alike(namespace: str, data: dict[str, Any] | None) -> None:
    for kind, parts in (
        (CONNECT, sio.connect(namespace, data)),
        (CONNECT_ERROR, sio.connect_error(namespace, data or {})),
        (DISCONNECT, sio.disconnect(namespace)),
    ):
        packet = theirs(parts)
        assert (packet.packet_type, packet.namespace or "/") == (kind, namespace)
        ours = read(parts)
        assert (ours.kind, ours.namespace, ours.data) == (kind, namespace, packet.data)


heads = st.sampled_from([b"", b"2", b"3", b"0", b"4", b"51-", b"52-", b"61-", b"2/chat,", b"51-/chat,7", b'2["a"'])
pieces = st.sampled_from(
    [b"[", b"]", b'"a"', b",", b"{", b"}", b":", b'{"_placeholder":true,"num":0}', b"1", b"-", b"/", b"\\ud800"]
)


@settings(deadline=None)
@given(
    heads,
    st.lists(pieces | st.binary(max_size=4), max_size=12).map(b"".join),
    st.lists(st.binary(max_size=9), max_size=3),
)
def test_random_packets_raise_nothing_else(head: bytes, rest: bytes, attachments: list[bytes]) -> None:
    decoder = Decoder(200)
    try:
        packet = decoder.text(head + rest)
        for data in attachments:
            packet = decoder.binary(data)
    except PacketError:
        return
    assert packet is None or isinstance(packet, Packet)


def outcome(take: Callable[[bytes], Packet | None], data: bytes) -> Any:
    try:
        return take(data)
    except PacketError as error:
        return error.reason, error.namespace, error.ack_id


@given(
    st.sampled_from(
        [b"", b"/,", b"/chat,", b"/" + b"x" * 127 + b",", b"/" + b"x" * 128 + b",", "/\u00e9,".encode(), b"/a"]
    ),
    st.sampled_from([b"", b"0", b"17", b"9" * 15, b"9" * 16, b"x"]),
    st.sampled_from([b'["hello",{"n":1}]', b"[]", b"[1]", b'["connect"]', b'["half', b"{}", b"", b'["\\ud800"]']),
    st.sets(st.sampled_from(["/chat", "/"])),
)
def test_the_short_way_for_events_says_what_the_long_one_says(
    namespace: bytes, ack_id: bytes, content: bytes, loose: set[str]
) -> None:
    decoder = Decoder(loose=loose)
    data = b"2" + namespace + ack_id + content
    assert outcome(decoder.text, data) == outcome(decoder._any, data)
