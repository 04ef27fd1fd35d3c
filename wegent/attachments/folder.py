"""Bytes as files in a folder."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from wegent.core.errors import InvalidPayload, NotFound, Overloaded
from wegent.server.ports.blobs import Blob, Blobs

PIECE = 256 * 1024
"""Bytes that are written at once: handing each packet to a thread would cost more than writing it."""
ABANDONED_S = 3_600
_PART = ".part"
_KEY = re.compile("[0-9a-f]{32}")


class FolderBlobs(Blobs):
    """A file each, below two letters of its name; one that is being written ends in `.part`."""

    __slots__ = ("_folder", "_limiter")

    def __init__(self, folder: Path, *, threads: int = 4) -> None:
        self._folder = folder
        self._limiter = trio.CapacityLimiter(threads)

    async def keep(self, data: AsyncIterable[bytes], *, most: int) -> Blob:
        """Write beside, then rename: who finds a file finds it whole."""
        key = secrets.token_hex(16)
        path = self._path(key)
        beside = path.with_suffix(_PART)
        try:
            with _told():
                size = await self._write(beside, data, most)
                await trio.to_thread.run_sync(beside.replace, path, limiter=self._limiter)
        except BaseException:
            with trio.CancelScope(shield=True), suppress(OSError):
                await trio.to_thread.run_sync(beside.unlink, limiter=self._limiter)
            raise
        return Blob(key, size)

    async def _write(self, path: Path, data: AsyncIterable[bytes], most: int) -> int:
        await trio.to_thread.run_sync(_make, path, limiter=self._limiter)
        size, waiting = 0, bytearray()
        async for piece in data:
            size += len(piece)
            if size > most:
                raise InvalidPayload(f"the file: expected at most {most} bytes, got more")
            waiting += piece
            if len(waiting) >= PIECE:
                await trio.to_thread.run_sync(_append, path, bytes(waiting), limiter=self._limiter)
                waiting.clear()
        await trio.to_thread.run_sync(_append, path, bytes(waiting), limiter=self._limiter)
        return size

    @asynccontextmanager
    async def at_hand(self, key: str) -> AsyncIterator[Path]:
        """The file itself."""
        path = self._path(key)
        if not await trio.to_thread.run_sync(path.is_file, limiter=self._limiter):
            raise NotFound("the file is not there any more")
        yield path

    async def drop(self, key: str) -> None:
        """Remove the file."""
        with _told(), suppress(FileNotFoundError):
            await trio.to_thread.run_sync(self._path(key).unlink, limiter=self._limiter)

    async def sweep(self) -> None:
        """Remove what was being written when an earlier life ended."""
        with _told():
            await trio.to_thread.run_sync(_sweep, self._folder, limiter=self._limiter)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise NotFound("no file is kept under that name")
        return self._folder / key[:2] / key


class _told:  # noqa: N801 - reads as what it does
    """What the file system refuses is told as `Overloaded`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise Overloaded(f"the file can't be kept: {(error.strerror or 'no reason').lower()}") from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def _sweep(folder: Path) -> None:
    before = time.time() - ABANDONED_S
    for path in folder.glob(f"*/*{_PART}"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
