"""Signed tokens: JWT, HS256 (RFC 7519, protocol §2), and the file with the secret that signs them."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from attrs import frozen

from wegent.core.errors import ConfigError, NotAuthenticated, TokenExpired
from wegent.protocol.auth import ConnectRefusal, Scope
from wegent.protocol.limits import MAX_ID

MAX_TOKEN = 8192
"""Characters of a token; ours have a few hundred."""
MAX_TIME = 253_402_300_799
"""The last second of the year 9999, the greatest that fits a datetime."""
SKEW_S = 60
"""Seconds by which a token may come from the future."""
SECRET_BYTES = 32

_HEADER = {"alg": "HS256", "typ": "JWT"}


def read_secret(data: Path) -> bytes:
    """The secret of a data folder, made at the first call; the file is its owner's alone (0600).

    Several processes may call this at once: they all get the same one.

    Raises:
        ConfigError: the file can't be made or read, or holds too little.
    """
    path = data / "secret"
    try:
        if not path.exists():
            _make_secret(path)
        secret = path.read_bytes().strip()
    except OSError as error:
        message = f"the signing secret {path} can't be read or made: {error.strerror}"
        raise ConfigError(message) from error
    if len(secret) < SECRET_BYTES:
        message = f"the signing secret {path} is too short: it takes at least {SECRET_BYTES} bytes"
        raise ConfigError(message)
    return secret


def _make_secret(path: Path) -> None:
    """Write beside, then link into place: who comes second finds the first one's file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".secret.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(SECRET_BYTES).encode())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
    finally:
        beside.unlink()


@frozen
class Claims:
    """What a token says. `extra` holds the claims beside the ones named here. Times are seconds since the epoch."""

    user_name: str
    user_id: int
    jti: str
    scope: str
    issued_at: float
    expires_at: float
    extra: Mapping[str, Any]


REMEMBERED = 4_096
"""Tokens whose signature needs no second check: clients come back with the same one."""


class Signer:
    """Signs and reads tokens with one secret; the signatures checked last are remembered."""

    __slots__ = ("_checked", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._checked: OrderedDict[str, Claims] = OrderedDict()

    def sign(self, claims: Claims) -> str:
        """The token that says this."""
        payload = {
            **claims.extra,
            "sub": claims.user_name,
            "user_id": claims.user_id,
            "jti": claims.jti,
            "scope": claims.scope,
            "iat": int(claims.issued_at),
            "exp": int(claims.expires_at),
        }
        return jwt.encode(payload, self._secret, algorithm="HS256")

    def read(self, token: str | None, now: float) -> Claims:
        """What a token says, if it is one of ours and still good at `now` (seconds since the epoch).

        Raises:
            NotAuthenticated: there is none, or it is not whole, not ours, or not what a token must say.
            TokenExpired: it is ours, and over.
        """
        if not token:
            raise NotAuthenticated(ConnectRefusal.MISSING.value)
        claims = self._checked.get(token) or _checked(self._payload(token))
        if claims is None or claims.issued_at > now + SKEW_S:
            raise NotAuthenticated(ConnectRefusal.INVALID.value)
        self._checked[token] = claims
        self._checked.move_to_end(token)
        if len(self._checked) > REMEMBERED:
            self._checked.popitem(last=False)
        if claims.expires_at <= now:
            raise TokenExpired(ConnectRefusal.INVALID.value)
        return claims

    def _payload(self, token: str) -> Mapping[str, Any]:
        """The payload of a token with a right signature. The header must be exactly ours, so `none` has no chance."""
        try:
            if len(token) > MAX_TOKEN or jwt.get_unverified_header(token) != _HEADER:
                raise NotAuthenticated(ConnectRefusal.INVALID.value)
            # Times are judged by our own clock, types below.
            options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "iat"]}
            payload: Mapping[str, Any] = jwt.decode(token, self._secret, algorithms=["HS256"], options=options)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise NotAuthenticated(ConnectRefusal.INVALID.value) from error
        return payload


def _checked(payload: Mapping[str, Any]) -> Claims | None:
    rest = dict(payload)
    name, user_id, jti, scope = (rest.pop(key, None) for key in ("sub", "user_id", "jti", "scope"))
    issued, expires = rest.pop("iat", None), rest.pop("exp", None)
    good = (
        isinstance(name, str)
        and _is_id(user_id)
        and isinstance(jti, str)
        and 0 < len(jti) <= 64
        and isinstance(scope, str)
        and scope in set(Scope)
        and _is_time(issued)
        and _is_time(expires)
    )
    return Claims(name, user_id, jti, scope, issued, expires, rest) if good else None


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ID


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TIME
