"""Lua that the server runs as one step."""

from __future__ import annotations

import hashlib

from attrs import field, frozen


@frozen
class Script:
    """A script, run by the digest of its text where the server has seen it."""

    text: str
    digest: str = field(init=False)

    @digest.default
    def _make_digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def by_name(self, keys: tuple[str | bytes, ...]) -> tuple[str | bytes | int, ...]:
        """The beginning of a command that runs it; its arguments follow."""
        return ("EVALSHA", self.digest, len(keys), *keys)

    def by_text(self, keys: tuple[str | bytes, ...]) -> tuple[str | bytes | int, ...]:
        """The same where the server may not have seen it."""
        return ("EVAL", self.text, len(keys), *keys)
