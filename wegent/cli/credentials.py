"""Tokens that were got by logging in, kept between runs in a file that is its owner's alone."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen


@frozen
class Kept:
    """A token for one server."""

    user_name: str
    token: str


class TokenFile:
    """`token.json` below the user's configuration: the last token for each server. A file that is damaged is empty."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    def find(self, server: str, user_name: str | None = None) -> Kept | None:
        """The token for a server; with a name, only if it is that user's."""
        entry = self._read().get(server)
        if not isinstance(entry, Mapping):
            return None
        name, token = entry.get("user"), entry.get("token")
        if not isinstance(name, str) or not isinstance(token, str) or user_name not in (None, name):
            return None
        return Kept(name, token)

    def keep(self, server: str, kept: Kept) -> None:
        """Keep a token, in place of an older one; where the file can't be written, nothing is kept."""
        entries = {**self._read(), server: {"user": kept.user_name, "token": kept.token}}
        try:
            self._write({"servers": entries})
        except OSError:
            return

    def drop(self, server: str) -> None:
        """Forget the token for a server."""
        entries = self._read()
        if entries.pop(server, None) is not None:
            try:
                self._write({"servers": entries})
            except OSError:
                return

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        servers = data.get("servers") if isinstance(data, dict) else None
        return dict(servers) if isinstance(servers, dict) else {}

    def _write(self, data: Mapping[str, Any]) -> None:
        """Beside, then in its place: a reader sees the old file or the new one, and nobody else's eyes see either."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1)
            beside.replace(self.path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def default_path() -> Path:
    """`$XDG_CONFIG_HOME/wegent/token.json`, by default below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "wegent" / "token.json"
