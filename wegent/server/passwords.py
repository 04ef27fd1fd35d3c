"""Password hashes by Argon2, made and checked in worker threads."""

from __future__ import annotations

import secrets

import argon2
import trio
from argon2.exceptions import Argon2Error, InvalidHashError, VerificationError

from wegent.core.errors import InvalidPayload, Overloaded

MIN_PASSWORD = 8
MAX_PASSWORD = 1024
"""Code points of a password."""


class Passwords:
    """Hashes and verifies, at most `workers` at a time; past `waiting` more it refuses (each takes 64 MB and 50 ms)."""

    __slots__ = ("_decoy", "_hasher", "_limiter", "_waiting")

    def __init__(self, hasher: argon2.PasswordHasher | None = None, *, workers: int = 2, waiting: int = 64) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._limiter = trio.CapacityLimiter(workers)
        self._waiting = waiting
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to keep.

        Raises:
            InvalidPayload: too short, too long, or not valid Unicode.
            Overloaded: too many wait already.
        """
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            message = f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters"
            raise InvalidPayload(message)
        if not is_text(password):
            message = "A password is valid Unicode text"
            raise InvalidPayload(message)
        self._admit()
        return await trio.to_thread.run_sync(self._hasher.hash, password, limiter=self._limiter)

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether the password is the one whose hash was kept; without a hash it takes as long, and is not.

        Raises:
            Overloaded: too many wait already.
        """
        if len(password) > MAX_PASSWORD or not is_text(password):
            return False
        self._admit()
        return await trio.to_thread.run_sync(self._verify, kept, password, limiter=self._limiter)

    def is_old(self, kept: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        try:
            return self._hasher.check_needs_rehash(kept)
        except (Argon2Error, InvalidHashError):
            return False

    def _verify(self, kept: str | None, password: str) -> bool:
        if self._decoy is None:
            self._decoy = self._hasher.hash(secrets.token_hex(16))
        try:
            self._hasher.verify(kept or self._decoy, password)
            return kept is not None
        except (VerificationError, InvalidHashError):
            return False

    def _admit(self) -> None:
        if self._limiter.statistics().tasks_waiting >= self._waiting:
            message = "Too many logins at once, try again in a moment"
            raise Overloaded(message)


def is_text(value: str) -> bool:
    """Whether a name or password is valid Unicode without U+0000: no store and no hash takes anything else."""
    return not any(unit == "\0" or "\ud800" <= unit <= "\udfff" for unit in value)
