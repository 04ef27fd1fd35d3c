"""Request heads, read strictly."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wegent.transports.ws import HandshakeError, Headers, parse_request

PLAIN = b"GET /a%20b?x=1&y=%C3%A9 HTTP/1.1\r\nHost: h\r\nAccept: a\r\nX-Empty:\r\nACCEPT:\t b \r\n\r\n"


def test_head_is_read() -> None:
    request = parse_request(PLAIN)
    assert (request.method, request.target, request.version) == ("GET", "/a%20b?x=1&y=%C3%A9", "1.1")
    assert (request.path, request.query) == ("/a%20b", "x=1&y=%C3%A9")
    assert request.headers.fields == (("host", "h"), ("accept", "a"), ("x-empty", ""), ("accept", "b"))


def test_headers_have_no_case_and_may_repeat() -> None:
    headers = parse_request(PLAIN).headers
    assert headers["Accept"] == headers.get("ACCEPT") == "a, b"
    assert headers.get_all("accept") == ("a", "b")
    assert headers["x-empty"] == ""
    assert "Host" in headers
    assert 3 not in headers
    assert list(headers) == ["host", "accept", "x-empty"]
    assert len(headers) == 3


def test_list_of_a_header_spans_its_fields() -> None:
    headers = Headers((("x", "A ,, b"), ("x", ""), ("x", "c")))
    assert headers.values_of("X") == ("A", "b", "c")
    assert headers.tokens("X") == ("a", "b", "c")
    assert headers.tokens("y") == ()


def test_values_of_headers_are_not_shown() -> None:
    assert repr(Headers((("authorization", "Bearer secret"),))) == "Headers(authorization)"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a?", "/a", ""),
        ("/a?b?c", "/a", "b?c"),
        ("//host/a", "//host/a", ""),
        ("http://host:1/a?b", "/a", "b"),
        ("http://host", "/", ""),
        ("*", "*", ""),
        ("host:443", "host:443", ""),
    ],
)
def test_target_has_path_and_query(target: str, path: str, query: str) -> None:
    request = parse_request(f"OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert (request.path, request.query) == (path, query)


def test_parameters_are_decoded() -> None:
    request = parse_request(PLAIN)
    assert request.parameter("y") == "é"
    assert request.parameter("z") is None


@pytest.mark.parametrize("query", ["a=1&b=2&a=1", "&".join(f"p{i}=" for i in range(65))])
def test_doubtful_parameters_are_refused(query: str) -> None:
    request = parse_request(f"GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    with pytest.raises(HandshakeError) as caught:
        request.parameter("a")
    assert caught.value.status == 400


def test_one_empty_line_before_the_request_is_ignored() -> None:
    assert parse_request(b"\r\n" + PLAIN) == parse_request(PLAIN)


def test_http_1_0_needs_no_host() -> None:
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n").version == "1.0"


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "GET / HTTP/1.1",  # no Host
        "GET  / HTTP/1.1|Host: h",
        "GET /a b HTTP/1.1|Host: h",
        "GET / HTTP/1.1 |Host: h",
        " GET / HTTP/1.1|Host: h",
        "GET / http/1.1|Host: h",
        "GET / HTTP/1.10|Host: h",
        "GET /",
        "GÉT / HTTP/1.1|Host: h",
        "GET /é HTTP/1.1|Host: h",
        "GET /#a HTTP/1.1|Host: h",
        "GET http://[::1 HTTP/1.1|Host: h",
        "GET / HTTP/1.1|Host: h|Host: h",
        "GET / HTTP/1.1|Host: h|Content-Length: 1|Content-Length: 1",
        "GET / HTTP/1.1|Host: h|Content-Length: +1",
        "GET / HTTP/1.1|Host: h|Content-Length: 1, 1",
        "GET / HTTP/1.1|Host: h|Content-Length: \xb2",
        "GET / HTTP/1.1|Host: h|Content-Length: 1|Transfer-Encoding: chunked",
        "GET / HTTP/1.1|Host: h|Sec-WebSocket-Key: a|sec-websocket-key: a",
        "GET / HTTP/1.1|Host: h|X: a| folded",
        "GET / HTTP/1.1|Host: h|X: a|\tfolded",
        "GET / HTTP/1.1| Host: h",
        "GET / HTTP/1.1|Host : h",
        "GET / HTTP/1.1|Host: h|: x",
        "GET / HTTP/1.1|Host: h|no colon",
        "GET / HTTP/1.1|Host: h|X(: y",
        "GET / HTTP/1.1|Host: h|X: a\nY: b",
        "GET / HTTP/1.1|Host: h|X: a\rY: b",
        "GET / HTTP/1.1|Host: h|X: a\x00",
        "GET / HTTP/1.1|Host: h|X: \x7f",
        "GET / HTTP/1.1\n|Host: h",
    ],
)
def test_malformed_head_is_refused(lines: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse_request(lines.replace("|", "\r\n").encode("latin-1") + b"\r\n\r\n")
    assert caught.value.status == 400
    assert caught.value.reason.endswith(".")


def test_another_major_version_is_refused() -> None:
    with pytest.raises(HandshakeError) as caught:
        parse_request(b"PRI * HTTP/2.0\r\n\r\n")
    assert caught.value.status == 505


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n", PLAIN[:-1], PLAIN + b"x", PLAIN.replace(b"\r", b"")])
def test_incomplete_head_is_refused(data: bytes) -> None:
    with pytest.raises(HandshakeError):
        parse_request(data)


names = st.text("abcXYZ019-_!", min_size=1, max_size=10).map(lambda name: "x" + name)
values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
values = values.filter(lambda text: not any("\x7f" <= c <= "\x9f" for c in text)).map(lambda text: text.strip(" "))


@settings(deadline=None)
@given(st.lists(st.tuples(names, values), max_size=8), st.text("abc/%?=&.~", max_size=20))
def test_what_was_written_is_read(fields: list[tuple[str, str]], rest: str) -> None:
    fields = [("Host", "h"), *fields]
    lines = [f"GET /{rest} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    request = parse_request("\r\n".join([*lines, "", ""]).encode("latin-1"))
    assert request.target == "/" + rest
    assert request.headers.fields == tuple((name.lower(), value) for name, value in fields)


pieces = st.sampled_from(
    b"GET|POST| |/|/a?b|HTTP/1.1|HTTP/1.0|\r\n|\n|\r|Host: h|Host|:|\t|X: y|\0|\xe9|Content-Length: 0".split(b"|")
)
good_start = st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: h\r\n", b"GET / HTTP/1.1\r\n"])


@settings(deadline=None)
@given(good_start, st.lists(st.one_of(pieces, st.binary(max_size=6)), max_size=12).map(b"".join))
def test_what_we_take_another_implementation_takes_alike(start: bytes, rest: bytes) -> None:
    data = (start + rest + b"\r\n\r\n").lstrip(b"\r\n").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    try:
        request = parse_request(data)
    except HandshakeError:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert event.target == request.target.encode()
    assert [(name.decode(), value.decode("latin-1")) for name, value in event.headers] == list(request.headers.fields)
