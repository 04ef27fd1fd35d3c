"""Versions of what is edited, and writers who name the one that they have read (RFC 9110 §13.1)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, TypeVar

from quart import request

from wegent.codec import canonical
from wegent.core.errors import Outdated
from wegent.server.conditions import Condition

R = TypeVar("R")
Check = Callable[[str | None], None]
"""Takes the version that is there, None where nothing is; raises `Outdated` where the request asks for another."""


def version_of(*parts: Any) -> str:
    """The version of something that consists of these parts, none of which may be secret."""
    return blake2b(canonical(list(parts)), digest_size=12).hexdigest()


def etag(version: str) -> str:
    """A version as the header `ETag` has it."""
    return f'"{version}"'


def condition() -> Check:
    """What `If-Match` and `If-None-Match` of this request ask for."""
    matches = request.if_match if "If-Match" in request.headers else None
    others = request.if_none_match if "If-None-Match" in request.headers else None

    def check(version: str | None) -> None:
        if matches is not None and (version is None or not (matches.star_tag or matches.is_strong(version))):
            message = "it has changed since you read it, or is no more; read it again"
            raise Outdated(message)
        if others is not None and version is not None and (others.star_tag or others.contains_weak(version)):
            message = "it is there already"
            raise Outdated(message)

    return check


def condition_on(version: Callable[[R], str]) -> Condition[R]:
    """The same of a row that is there, by what makes its version."""
    check = condition()
    return lambda row: check(version(row))
