"""The page at `/`: its files as they are, checked for news at each load."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import frozen
from quart import request
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioResponse

from wegent.server.api.headers import PAGE_POLICY
from wegent.server.ports.routes import Routes

FOLDER = Path(__file__).parents[2] / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}


@frozen
class PageFile:
    """One file, in memory."""

    body: bytes
    content_type: str
    etag: str


class PageRoutes(Routes):
    """Serves a folder's files of known types, read once: only what was there at the start has a path."""

    __slots__ = ("_files",)

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = read_files(folder)

    def register(self, app: QuartTrio) -> None:
        """A rule a file; `/` is `index.html`."""
        for path, file in self._files.items():
            app.add_url_rule(f"/{path}", f"page:{path}", _view(file))
            if path == "index.html":
                app.add_url_rule("/", "page", _view(file))


def read_files(folder: Path) -> dict[str, PageFile]:
    """The folder's files by their path below it."""
    found: dict[str, PageFile] = {}
    for path in sorted(folder.rglob("*")):
        content_type = _TYPES.get(path.suffix)
        if content_type is not None and path.is_file():
            body = path.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:32]
            found[path.relative_to(folder).as_posix()] = PageFile(body, content_type, etag)
    return found


def _view(file: PageFile) -> Callable[[], Awaitable[TrioResponse]]:
    async def view() -> TrioResponse:
        fresh = request.if_none_match.contains_weak(file.etag)
        response = TrioResponse(b"" if fresh else file.body, status=304 if fresh else 200)
        response.headers["Content-Type"] = file.content_type
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        response.set_etag(file.etag)
        return response

    return view
