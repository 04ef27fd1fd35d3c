"""Which web pages may talk to the server (RFC 6454)."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit


class Origins:
    """Pages of the server's own host, and those listed; `*` lists all. Clients that are no browser send no origin."""

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with these `Origin` and `Host` headers may come in."""
        if origin is None or "*" in self._allowed or origin.lower() in self._allowed:
            return True
        try:
            site = urlsplit(origin).netloc
        except ValueError:
            return False
        return host is not None and site.lower() == host.lower()
