"""Pongs and the close handshake."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from wegent.transports.ws import ABNORMAL, CLOSE, NO_STATUS, PING, PONG, TEXT, Connection, State, close_frame, frame
from wegent.transports.ws.client import masked_frame
from wegent.transports.ws.frames import close_payload

LIMIT = 1000


@pytest.fixture
def connection() -> Connection:
    return Connection(LIMIT)


def masked_close(code: int, reason: str = "") -> bytes:
    return masked_frame(close_payload(code, reason), CLOSE)


def test_messages_come_out_and_nothing_goes_back(connection: Connection) -> None:
    assert connection.receive(masked_frame(b"a") + masked_frame(b"b")) == [(TEXT, b"a"), (TEXT, b"b")]
    assert connection.outgoing() == b""
    assert connection.state is State.OPEN


def test_ping_is_answered_once_with_its_payload(connection: Connection) -> None:
    assert connection.receive(masked_frame(b"now", PING)) == []
    assert connection.outgoing() == frame(b"now", PONG)
    assert connection.outgoing() == b""


def test_of_many_pings_the_last_is_answered(connection: Connection) -> None:
    pings = b"".join(masked_frame(b"%d" % i, PING) for i in range(50))
    assert connection.receive(pings + masked_frame(b"x")) == [(TEXT, b"x")]
    assert connection.outgoing() == frame(b"49", PONG)


def test_pong_is_told(connection: Connection) -> None:
    assert connection.receive(masked_frame(b"17", PONG)) == [(PONG, b"17")]


def test_close_of_the_peer_is_answered_once_with_its_code(connection: Connection) -> None:
    assert connection.receive(masked_frame(b"last") + masked_close(1001, "bye")) == [(TEXT, b"last")]
    assert (connection.state, connection.code, connection.reason) == (State.CLOSED, 1001, "bye")
    assert connection.outgoing() == close_frame(1001)
    assert connection.outgoing() == b""
    connection.close(4000)
    assert connection.outgoing() == b""
    assert connection.receive(masked_frame(b"late")) == []


def test_empty_close_is_answered_by_an_empty_one(connection: Connection) -> None:
    connection.receive(masked_frame(b"", CLOSE))
    assert connection.outgoing() == b"\x88\x00"
    assert connection.code == NO_STATUS


def test_pong_precedes_the_close_frame(connection: Connection) -> None:
    connection.receive(masked_frame(b"p", PING) + masked_close(1000))
    assert connection.outgoing() == frame(b"p", PONG) + close_frame(1000)


def test_our_close_waits_for_the_answer_and_drops_what_comes_before_it(connection: Connection) -> None:
    connection.close(4001, "The server shuts down")
    assert connection.outgoing() == close_frame(4001, "The server shuts down")
    assert connection.receive(masked_frame(b"x") + masked_frame(b"p", PING)) == []
    assert connection.state is State.CLOSING
    assert connection.receive(masked_frame(b"y") + masked_close(4001)) == []
    assert connection.state is State.CLOSED
    assert connection.outgoing() == b""
    assert (connection.code, connection.reason) == (4001, "The server shuts down")


def test_closes_that_cross_send_one_frame_each(connection: Connection) -> None:
    connection.close(1000)
    connection.receive(masked_close(1001))
    assert connection.outgoing() == close_frame(1000)
    assert connection.state is State.CLOSED


def test_violation_is_reported_in_the_close_frame(connection: Connection) -> None:
    assert connection.receive(masked_frame(b"good") + frame(b"not masked")) == [(TEXT, b"good")]
    assert connection.outgoing() == close_frame(1002, "A client must mask its frames.")
    assert (connection.state, connection.code) == (State.CLOSED, 1002)
    assert connection.receive(masked_frame(b"more")) == []


def test_violation_after_our_close_ends_it_silently(connection: Connection) -> None:
    connection.close(1000)
    connection.outgoing()
    connection.receive(frame(b"not masked"))
    assert (connection.state, connection.code, connection.outgoing()) == (State.CLOSED, 1000, b"")


def test_end_of_bytes_without_close_is_abnormal(connection: Connection) -> None:
    connection.receive(masked_frame(b"half")[:-1])
    connection.eof()
    assert (connection.state, connection.code) == (State.CLOSED, ABNORMAL)
    assert connection.receive(b"t") == []


def test_end_of_bytes_after_a_close_keeps_its_code(connection: Connection) -> None:
    connection.close(4008, "slow")
    connection.eof()
    assert (connection.state, connection.code) == (State.CLOSED, 4008)


def test_code_that_may_not_be_sent_is_refused_and_changes_nothing(connection: Connection) -> None:
    with pytest.raises(ValueError, match="1006"):
        connection.close(1006)
    assert connection.state is State.OPEN


def test_another_implementation_closes_with_us() -> None:
    client = ClientProtocol(parse_uri("ws://localhost/"))
    client.state = client.state.OPEN  # type: ignore[misc]
    client.parser = client.parse()  # type: ignore[misc]
    next(client.parser)
    connection = Connection(LIMIT)
    client.send_text(b"hello")
    client.send_close(1000, "done")
    assert connection.receive(b"".join(client.data_to_send())) == [(TEXT, b"hello")]
    client.receive_data(frame(b"too late to be sent, still well-formed") + connection.outgoing())
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == 1000
    assert (connection.code, connection.reason) == (1000, "done")


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(["ping", "close", "text", "ours"])), max_size=12))
def test_at_most_one_close_frame_is_sent_and_nothing_after_it(steps: list[bytes | str]) -> None:
    known = {"ping": masked_frame(b"p", PING), "close": masked_close(1000), "text": masked_frame(b"t")}
    connection, sent = Connection(LIMIT), []
    for step in steps:
        if step == "ours":
            connection.close(1000)
        else:
            connection.receive(known[step] if isinstance(step, str) else step)
        sent.append(connection.outgoing())
    closes = [i for i, data in enumerate(sent) if b"\x88" in data[:1] + data[3:4]]
    assert len(closes) <= 1
    if closes:
        assert not any(sent[closes[0] + 1 :])
