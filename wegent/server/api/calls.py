"""What every call has: who asks, what it takes, what it answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from quart import Blueprint, g, request
from quart_trio.wrappers import TrioResponse

from wegent.codec import CodecError, convert, decode, decode_loose, encode
from wegent.core.errors import InvalidPayload, NotAuthenticated, NotFound
from wegent.core.model import Principal
from wegent.core.ports.auth import Auth
from wegent.protocol.auth import ConnectRefusal, Scope
from wegent.protocol.fields import json_type
from wegent.protocol.limits import MAX_ID
from wegent.server.api.limiting import count_user

T = TypeVar("T")
PREFIX = "/api/v1"
_BEARER = re.compile(r"bearer +(?P<token>[\x21-\x7e]+) *", re.IGNORECASE)


def protect(blueprint: Blueprint, auth: Auth, scopes: Collection[str] = (Scope.USER,)) -> None:
    """Let only those with a Bearer token of one of `scopes` call what is in the blueprint (RFC 6750 §2.1).

    Who it was, `principal` tells. A call that does not pass is answered with 401 or 403 (`Auth.authenticate`), one too
    many with 429.
    """
    blueprint.scopes = tuple(str(scope) for scope in scopes)  # type: ignore[attr-defined]

    async def authenticate() -> None:
        if request.method != "OPTIONS":
            g.principal = await auth.authenticate(bearer_token(), scopes)
            count_user(g.principal)

    blueprint.before_request(authenticate)


def scopes_of(blueprint: Any) -> tuple[str, ...]:
    """The scopes of tokens with which its calls can be made; none where it is open to everybody."""
    found: tuple[str, ...] = getattr(blueprint, "scopes", ())
    return found


def principal() -> Principal:
    """Who makes this call; only in a protected blueprint."""
    return cast("Principal", g.principal)


def bearer_token() -> str | None:
    """The token of the `Authorization` header; None without such a header.

    Raises:
        NotAuthenticated: the header says something else.
    """
    header = request.headers.get("Authorization")
    if header is None:
        return None
    match = _BEARER.fullmatch(header.strip())
    if match is None:
        raise NotAuthenticated(ConnectRefusal.INVALID.value)
    return match["token"]


async def read_body(kind: type[T]) -> T:
    """The body as an object of `kind`; no body counts as `{}`.

    Raises:
        InvalidPayload: it is no JSON, no object, or not such an object.
    """
    return body_as(await read_object(), kind)


async def read_object(*, loose: bool = False) -> dict[str, Any]:
    """The body as it is, to be looked at before it is made an object of a kind; can be read once.

    `loose`: halves of surrogate pairs are let through, for text that is cleaned later.

    Raises:
        InvalidPayload: it is no JSON, or no object.
    """
    data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    with told_as_invalid():
        value = (decode_loose if loose else decode)(data) if data.strip() else {}
    if not isinstance(value, dict):
        message = f"the body: expected an object, got {json_type(value)}"
        raise InvalidPayload(message)
    return value


def body_as(value: Mapping[str, Any], kind: type[T]) -> T:
    """What `read_object` read as an object of `kind`; raises `InvalidPayload`."""
    with told_as_invalid():
        return convert(value, kind)


@contextmanager
def told_as_invalid() -> Iterator[None]:
    """What the codec refuses becomes INVALID_PAYLOAD."""
    try:
        yield
    except CodecError as error:
        raise InvalidPayload(error.sentence) from error


def path_id(text: str, name: str) -> int:
    """An id in a path.

    Raises:
        NotFound: it is no id, so there is nothing of that id.
    """
    if not re.fullmatch("[1-9][0-9]{0,15}", text) or int(text) > MAX_ID:
        message = f"there is no such {name}: an id is an integer from 1 to {MAX_ID}"
        raise NotFound(message)
    return int(text)


def reply(value: Any, status: int = 200, **headers: str) -> TrioResponse:
    """A JSON answer; `headers` by their names with `_` for `-`."""
    response = TrioResponse(encode(value), status=status, content_type="application/json")
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response
