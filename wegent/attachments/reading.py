"""What can be read of a file: plain text in a thread, PDFs in a process of their own, all within limits."""

from __future__ import annotations

import codecs
import subprocess
import sys
from pathlib import Path

import trio
from attrs import field, frozen
from attrs.validators import gt

from wegent.attachments.pdf_text import BROKEN, LOCKED, MORE
from wegent.core.text import clean

_HEAD = 1_024
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_REASONS = {
    LOCKED: "the PDF is protected by a password",
    BROKEN: "the PDF is damaged, or not as PDFs should be",
}


@frozen(kw_only=True)
class ReadingLimits:
    """Code points of a text, pages of a PDF; seconds, CPU seconds and bytes of memory that reading a PDF may take; how
    many files are read at once.
    """

    characters: int = field(default=200_000, validator=gt(0))
    pages: int = field(default=500, validator=gt(0))
    seconds: float = field(default=30.0, validator=gt(0))
    cpu_seconds: int = field(default=20, validator=gt(0))
    memory: int = field(default=1_073_741_824, validator=gt(0))
    at_once: int = field(default=2, validator=gt(0))


@frozen
class Reading:
    """A file's text. `cut`: there was more. `unread`: why there is none."""

    text: str = ""
    cut: bool = False
    unread: str | None = None


class Reader:
    """Reads files, a few at a time; never raises for what is in them."""

    def __init__(self, limits: ReadingLimits | None = None) -> None:
        self.limits = limits or ReadingLimits()
        self._turn = trio.CapacityLimiter(self.limits.at_once)

    async def read(self, path: Path) -> Reading:
        """What can be read of it."""
        async with self._turn:
            if await trio.to_thread.run_sync(_is_pdf, path):
                return await self._read_pdf(path)
            return await trio.to_thread.run_sync(_read_text, path, self.limits.characters)

    async def _read_pdf(self, path: Path) -> Reading:
        limits = self.limits
        numbers = (limits.pages, limits.characters, limits.memory, limits.cpu_seconds)
        command = [sys.executable, "-I", "-m", "wegent.attachments.pdf_text", str(path), *map(str, numbers)]
        with trio.move_on_after(limits.seconds) as scope:
            done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False)
        if scope.cancelled_caught or done.returncode < 0:
            return Reading(unread="reading the PDF took more time or memory than it may")
        if reason := _REASONS.get(done.returncode):
            return Reading(unread=reason)
        if done.returncode not in (0, MORE):
            return Reading(unread="the PDF could not be read")
        return _reading(done.stdout.decode(errors="replace").strip(), limits.characters, more=done.returncode == MORE)


def _is_pdf(path: Path) -> bool:
    with path.open("rb") as file:
        return b"%PDF-" in file.read(_HEAD)


def _read_text(path: Path, most: int) -> Reading:
    with path.open("rb") as file:
        data = file.read(4 * (most + 1))
        whole = not file.read(1)
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    except UnicodeDecodeError:
        return Reading(unread="it is no text in UTF-8 or UTF-16, and no PDF")
    if "\0" in text:
        return Reading(unread="it is no text, and no PDF")
    return _reading(text, most, more=not whole)


def _reading(text: str, most: int, *, more: bool) -> Reading:
    text = clean(text)
    if not text.strip():
        return Reading(unread="there is no text in it")
    return Reading(text[:most], cut=more or len(text) > most)
