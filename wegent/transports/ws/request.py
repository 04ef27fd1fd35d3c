"""Request heads of HTTP/1.1 (RFC 9112 §2 to §5), read strictly, sans-IO.

Strict, because the same bytes may be read again by another server behind the front door: what two readers
could understand differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import attrs

MAX_PARAMETERS: Final = 64  # of a query

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REQUEST_LINE: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/(\d)\.(\d)")
_TEXT: Final = bytes({9, *range(0x20, 0x7F), *range(0x80, 0x100)})  # what a line may hold (RFC 9110 §5.5)
_ONCE: Final = frozenset(("host", "content-length", "transfer-encoding", "sec-websocket-key", "sec-websocket-version"))


class HandshakeError(Exception):
    """The request cannot be granted.

    `status` is the HTTP status, `reason` a sentence that may be shown, `headers` go into the response.
    """

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class Headers(Mapping[str, str]):
    """Header fields in the order received; names without regard to case, values as Latin-1 text.

    As a mapping: each name once, in lower case, several values joined by ", " (RFC 9110 §5.3).
    """

    __slots__ = ("_by_name", "fields")

    def __init__(self, fields: tuple[tuple[str, str], ...]) -> None:
        self.fields = fields
        """Pairs of lower-case name and value, in the order received."""
        self._by_name = dict(fields)
        if len(self._by_name) != len(fields):
            for name in self._by_name:
                self._by_name[name] = ", ".join(self.get_all(name))

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        # Values may be secrets (Authorization, Cookie).
        return f"Headers({', '.join(self._by_name)})"

    def get_all(self, name: str) -> tuple[str, ...]:
        """Every field of that name, in order."""
        name = name.lower()
        return tuple(value for key, value in self.fields if key == name)

    def values_of(self, name: str) -> tuple[str, ...]:
        """The elements of a comma-separated list, over all fields of that name, without empty ones."""
        return tuple(part for each in self.get(name, "").split(",") if (part := each.strip(" \t")))

    def tokens(self, name: str) -> tuple[str, ...]:
        """The same in lower case, for lists whose elements have no case."""
        return tuple(part.lower() for part in self.values_of(name))


@attrs.frozen
class Request:
    """The head of a request.

    `path` and `query` are as sent, percent-encoded, without the `?`; `version` is "1.0" or "1.1".
    """

    method: str
    target: str
    path: str
    query: str
    version: str
    headers: Headers

    def parameter(self, name: str) -> str | None:
        """The decoded value of a query parameter, None without it.

        Raises HandshakeError (400) when it is there twice, or the query holds more than 64 parameters.
        """
        found = [value for key, value in self._pairs if key == name]
        if len(found) > 1:
            raise HandshakeError(400, "A query parameter is there twice.")
        return found[0] if found else None

    @cached_property
    def _pairs(self) -> list[tuple[str, str]]:
        try:
            return parse_qsl(self.query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError:
            raise HandshakeError(400, f"A query holds at most {MAX_PARAMETERS} parameters.") from None


def parse_request(head: bytes) -> Request:
    """Read a request head: bytes up to and including the empty line that ends it.

    The caller limits its size. One empty line before it is ignored (RFC 9112 §2.2). Raises HandshakeError:
    505 for another major version, else 400.
    """
    if not head.endswith(b"\r\n\r\n"):
        raise HandshakeError(400, "The request head does not end with an empty line.")
    first, *lines = head.removeprefix(b"\r\n")[:-4].decode("latin-1").split("\r\n")
    if head.translate(None, _TEXT) != b"\r\n" * head.count(b"\r\n"):
        raise HandshakeError(400, "The request head holds a control character.")
    method, target, version = _request_line(first)
    headers = Headers(tuple(map(_field, lines)))
    _check(headers, version)
    path, query = _split(target)
    return Request(method, target, path, query, version, headers)


def is_token(text: str) -> bool:
    """Whether `text` may be a header's or subprotocol's name (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def _request_line(line: str) -> tuple[str, str, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise HandshakeError(400, "The request line is not METHOD TARGET HTTP/1.1.")
    method, target, major, minor = match.groups()
    if major != "1":
        raise HandshakeError(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    return method, target, "1.0" if minor == "0" else "1.1"


def _field(line: str) -> tuple[str, str]:
    if line[:1] in (" ", "\t"):
        raise HandshakeError(400, "A header is folded over several lines.")
    name, colon, value = line.partition(":")
    if not colon or _TOKEN.fullmatch(name) is None:
        raise HandshakeError(400, "A header line is not NAME: VALUE.")
    return name.lower(), value.strip(" \t")


def _check(headers: Headers, version: str) -> None:
    if len(headers.fields) != len(headers):
        for name in _ONCE:
            if len(headers.get_all(name)) > 1:
                raise HandshakeError(400, f"Header {name} is there twice.")
    if version == "1.1" and "host" not in headers:
        raise HandshakeError(400, "Header host is missing.")
    length = headers.get("content-length")
    if length is not None:
        if not (length.isascii() and length.isdigit()):
            raise HandshakeError(400, "Header content-length is not a number.")
        if "transfer-encoding" in headers:
            raise HandshakeError(400, "Headers content-length and transfer-encoding exclude each other.")


def _split(target: str) -> tuple[str, str]:
    """Path and query of a target in any of its forms (RFC 9112 §3.2)."""
    if "#" in target:
        raise HandshakeError(400, "The request target holds a fragment.")
    if not target.startswith("/"):
        if "://" not in target:
            return target, ""  # OPTIONS * and CONNECT host:port
        try:
            parts = urlsplit(target)
        except ValueError:
            raise HandshakeError(400, "The request target is no URL.") from None
        return parts.path or "/", parts.query
    path, _, query = target.partition("?")
    return path, query
