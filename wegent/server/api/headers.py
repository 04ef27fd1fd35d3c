"""Headers that every answer has: what browsers may do with it, and which other sites may read it."""

from __future__ import annotations

from attrs import frozen
from quart import Quart, request
from quart.typing import ResponseTypes
from quart_trio.wrappers import TrioResponse

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_TAKEN = "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID"
_SHOWN = "ETag, Location, Next-Cursor, Retry-After"
_KEEP_S = "600"


@frozen
class Sites:
    """Origins (RFC 6454) whose pages may call the API; `*` for any. No cookies are involved, so none are allowed."""

    allowed: frozenset[str]

    @classmethod
    def of(cls, origins: tuple[str, ...]) -> Sites:
        """The origins as configured; case and a slash at the end don't count."""
        return cls(frozenset(origin.rstrip("/").lower() for origin in origins))

    def grant(self, origin: str | None) -> str | None:
        """What `Access-Control-Allow-Origin` says to this origin."""
        if origin is None or not self.allowed:
            return None
        if "*" in self.allowed:
            return "*"
        return origin if origin.lower() in self.allowed else None


def add_headers(app: Quart, sites: Sites) -> None:
    """Answer preflights (Fetch §4.8), and put the headers on every answer; one that is there already stays."""

    async def preflight() -> TrioResponse | None:
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return TrioResponse(b"", status=204)
        return None

    async def finish(response: ResponseTypes) -> ResponseTypes:
        headers = response.headers
        for name, value in _ALWAYS.items():
            headers.setdefault(name, value)
        headers.setdefault("Content-Security-Policy", _POLICY)
        headers.setdefault("Cache-Control", "no-store")
        if sites.allowed:
            headers.add("Vary", "Origin")
        if (granted := sites.grant(request.headers.get("Origin"))) is not None:
            headers["Access-Control-Allow-Origin"] = granted
            headers["Access-Control-Expose-Headers"] = _SHOWN
            if request.method == "OPTIONS":
                headers["Access-Control-Allow-Methods"] = _METHODS
                headers["Access-Control-Allow-Headers"] = _TAKEN
                headers["Access-Control-Max-Age"] = _KEEP_S
        return response

    app.before_request(preflight)
    app.after_request(finish)
