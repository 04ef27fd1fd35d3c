"""Bytes in a folder."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from wegent.attachments.folder import FolderBlobs
from wegent.core.errors import InvalidPayload, NotFound, Overloaded


class Pieces:
    """What comes: bytes, then what is done at last instead of ending."""

    def __init__(self, *data: bytes, last: Callable[[], Awaitable[None]] | None = None) -> None:
        self.data = list(data)
        self.last = last

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.data:
            return self.data.pop(0)
        if self.last is not None:
            await self.last()
        raise StopAsyncIteration


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_what_is_kept_comes_back_and_can_be_dropped(tmp_path):
    blobs = FolderBlobs(tmp_path / "deep")
    data = [os.urandom(100_000) for _ in range(7)]
    blob = await blobs.keep(Pieces(*data), most=700_000)
    assert blob.size == 700_000
    async with blobs.at_hand(blob.key) as path:
        assert path.read_bytes() == b"".join(data)
        assert path.stat().st_mode & 0o077 == 0
    for _ in range(2):
        await blobs.drop(blob.key)
    with pytest.raises(NotFound):
        async with blobs.at_hand(blob.key):
            pass


async def test_nothing_is_left_of_what_was_not_kept(tmp_path):
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(InvalidPayload, match="at most 9 bytes"):
        await blobs.keep(Pieces(b"x" * 10), most=9)

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await blobs.keep(Pieces(b"x" * 300_000, last=fail), most=10**6)

    async def wait() -> None:
        scope.cancel()
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        await blobs.keep(Pieces(b"x" * 300_000, last=wait), most=10**6)
    assert files(tmp_path) == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "", "x", "A" * 32, "0" * 31])
async def test_no_other_file_is_reached(tmp_path, key):
    with pytest.raises(NotFound):
        async with FolderBlobs(tmp_path).at_hand(key):
            pass


async def test_what_was_being_written_long_ago_is_swept(tmp_path):
    (tmp_path / "ab").mkdir()
    old, new, whole = (tmp_path / "ab" / name for name in ("old.part", "new.part", "whole"))
    for path in (old, new, whole):
        path.write_bytes(b"x")
    for path in (old, whole):
        os.utime(path, (1, 1))
    await FolderBlobs(tmp_path).sweep()
    assert sorted(files(tmp_path)) == [new, whole]


async def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Overloaded):
        await FolderBlobs(tmp_path / "file").keep(Pieces(b"x"), most=9)
