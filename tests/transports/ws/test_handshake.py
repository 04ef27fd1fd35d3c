"""Upgrade checks and responses."""

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from wegent.transports.ws import (
    HandshakeError,
    accept,
    check_upgrade,
    is_upgrade,
    parse_request,
    refusal,
    response_head,
    subprotocols,
)
from wegent.transports.ws.client import check_response, new_key, upgrade_request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Host": "example.org",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def head(method: str = "GET", version: str = "1.1", **changes: str | None) -> bytes:
    fields = GOOD | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} /ws/chat HTTP/{version}", *lines, "", ""]).encode()


def refused(**changes: str | None) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        accept(parse_request(head(**changes)))
    return caught.value


def test_accept_gives_the_answer_of_the_rfc() -> None:
    response = accept(parse_request(head()))
    assert response.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in response
    assert response.endswith(b"\r\n\r\n")


def test_header_names_and_tokens_have_no_case() -> None:
    changed = head(Upgrade="WebSocket", Connection="UPGRADE").replace(b"Sec-WebSocket-Key", b"SEC-websocket-KEY")
    assert accept(parse_request(changed)) == accept(parse_request(head()))


@pytest.mark.parametrize(
    ("changes", "status", "header"),
    [
        ({"method": "POST"}, 405, ("Allow", "GET")),
        ({"version": "1.0"}, 400, None),
        ({"Upgrade": None}, 426, ("Upgrade", "websocket")),
        ({"Upgrade": "h2c"}, 426, ("Upgrade", "websocket")),
        ({"Connection": "close"}, 426, ("Connection", "Upgrade")),
        ({"Sec_WebSocket_Version": None}, 426, ("Sec-WebSocket-Version", "13")),
        ({"Sec_WebSocket_Version": "8"}, 426, ("Sec-WebSocket-Version", "13")),
        ({"Sec_WebSocket_Key": None}, 400, None),
        ({"Sec_WebSocket_Key": ""}, 400, None),
        ({"Sec_WebSocket_Key": "c2hvcnQ="}, 400, None),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=!"}, 400, None),
        ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZ===="}, 400, None),
        ({"Sec_WebSocket_Key": "\xe9" * 12}, 400, None),
        ({"Content_Length": "3"}, 400, None),
        ({"Transfer_Encoding": "chunked"}, 400, None),
    ],
)
def test_wrong_upgrade_is_refused(changes: dict[str, str | None], status: int, header: tuple[str, str] | None) -> None:
    error = refused(**changes)
    assert error.status == status
    assert header is None or header in error.headers
    assert refusal(error.status, error.reason, error.headers).startswith(b"HTTP/1.1 %d " % status)


def test_upgrade_is_recognised_even_if_badly_made() -> None:
    request = parse_request(head(Sec_WebSocket_Key=None))
    assert is_upgrade(request)
    with pytest.raises(HandshakeError):
        check_upgrade(request)
    assert not is_upgrade(parse_request(head(Upgrade=None)))


def test_subprotocol_must_have_been_offered() -> None:
    request = parse_request(head(Sec_WebSocket_Protocol="chat, v2.wegent"))
    assert subprotocols(request) == ("chat", "v2.wegent")
    assert b"\r\nSec-WebSocket-Protocol: v2.wegent\r\n" in accept(request, "v2.wegent")
    with pytest.raises(ValueError, match="not offer"):
        accept(request, "v3")


def test_subprotocol_offer_that_is_no_list_of_names_is_refused() -> None:
    with pytest.raises(HandshakeError):
        subprotocols(parse_request(head(Sec_WebSocket_Protocol="a b")))


def test_extra_headers_are_added_but_cannot_break_the_head() -> None:
    request = parse_request(head())
    assert b"\r\nX-Worker: 3\r\n" in accept(request, extra_headers=[("X-Worker", "3")])
    for bad in (("X", "a\r\nSet-Cookie: b"), ("X\n", "a"), ("X", "\0"), ("X", "☃")):
        with pytest.raises(ValueError, match=r"cannot be sent|latin-1"):
            accept(request, extra_headers=[bad])


def test_refusal_is_a_whole_response() -> None:
    assert refusal(503, "The server is shutting down.", [("Retry-After", "2")]) == (
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 29\r\nRetry-After: 2\r\n\r\nThe server is shutting down.\n"
    )


def test_refusal_may_carry_another_body() -> None:
    response = refusal(401, "", [("Content-Type", "application/json")], b"{}")
    assert response.endswith(b"Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
    assert b"text/plain" not in response


def test_refusal_that_names_its_connection_header_has_one() -> None:
    response = refusal(426, "no", [("Connection", "Upgrade"), ("Upgrade", "websocket")])
    assert response.count(b"Connection:") == 1


def test_unregistered_status_is_sent_all_the_same() -> None:
    assert response_head(599, []) == b"HTTP/1.1 599 Unknown\r\n\r\n"


def test_another_implementation_opens_with_us() -> None:
    client = ClientProtocol(parse_uri("ws://localhost/ws/chat?a=1"))
    client.send_request(client.connect())
    request = parse_request(b"".join(client.data_to_send()))
    assert (request.path, request.query) == ("/ws/chat", "a=1")
    client.receive_data(accept(request))
    assert client.handshake_exc is None
    assert client.state.name == "OPEN"


def test_our_client_opens_with_us() -> None:
    key = new_key()
    request = parse_request(upgrade_request("localhost:80", "/ws?x", key, [("Origin", "http://a")]))
    assert request.headers["origin"] == "http://a"
    check_response(accept(request), key)
    with pytest.raises(HandshakeError, match="belong"):
        check_response(accept(request), new_key())
    with pytest.raises(HandshakeError) as caught:
        check_response(refusal(503, "no").partition(b"\r\n\r\n")[0], key)
    assert caught.value.status == 503
    with pytest.raises(HandshakeError, match="HTTP"):
        check_response(b"220 smtp ready", key)


@pytest.mark.parametrize("arguments", [("h", "/a b"), ("h", "/\r\n"), ("h\r\nX: y", "/")])
def test_our_client_sends_no_broken_head(arguments: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        upgrade_request(*arguments, KEY)
