"""Cuts Markdown that is still being written into pieces that won't change any more. No I/O."""

from __future__ import annotations

import re

from attrs import frozen

TEXT, CODE = "text", "code"
MOST = 2_000
"""Code points of a piece: more than that is never rendered again and again while it grows."""
MOST_CODE_LINES = 40

_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$")
_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_ITEM_BEGINS = frozenset("-*+0123456789")
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Without what would steer the terminal: control characters, and marks that turn the reading direction around."""
    return _UNSAFE.sub("", text)


@frozen
class Piece:
    """Some whole blocks of Markdown, or a stretch of one code block. `goes_on`: the next piece continues this one."""

    kind: str
    text: str
    language: str = ""
    goes_on: bool = False


class MarkdownFeed:
    """Takes text as it comes; gives pieces as they are complete, and what is not complete yet.

    Text is cut at blank lines, where what follows can't change the rendering of what was before; a code block by lines.
    """

    def __init__(self) -> None:
        self._line = ""
        self._lines: list[str] = []
        self._size = 0
        self._fence: re.Match[str] | None = None
        self._done: list[Piece] = []

    def feed(self, text: str) -> list[Piece]:
        """Take in more text; the pieces that are complete now."""
        *lines, self._line = (self._line + clean(text)).split("\n")
        for line in lines:
            self._take(line)
        if self._fence is None and self._after_blank() and self._begins_anew():
            self._cut()
        if len(self._line) > MOST:
            self._break_line()
        return self._taken()

    def flush(self) -> list[Piece]:
        """Something else is to be shown here: whatever is left, complete or not."""
        if self._line:
            self._take(self._line)
            self._line = ""
        self._cut()
        return self._taken()

    def finish(self) -> list[Piece]:
        """The text is over: whatever is left."""
        pieces = self.flush()
        self._fence = None
        return pieces

    @property
    def rest(self) -> Piece | None:
        """What would be the next piece, if nothing more came."""
        lines = [*self._lines, self._line] if self._line else self._lines
        return self._piece(lines) if any(line.strip() for line in lines) else None

    def _taken(self) -> list[Piece]:
        done, self._done = self._done, []
        return done

    def _take(self, line: str) -> None:
        if self._fence is not None:
            self._take_code(line, self._fence)
        elif found := _FENCE.match(line):
            self._cut()
            self._fence = found
        else:
            if self._after_blank() and self._ends_before(line):
                self._cut()
            self._keep(line)
            if self._size > MOST:
                self._cut()

    def _take_code(self, line: str, fence: re.Match[str]) -> None:
        mark, bare = fence["mark"], line.strip()
        if bare and set(bare) == {mark[0]} and len(bare) >= len(mark):
            self._cut()
            self._fence = None
            return
        indent = len(fence["indent"])
        self._keep(line[indent:] if not line[:indent].strip() else line)
        if len(self._lines) >= MOST_CODE_LINES or self._size > MOST:
            self._cut(goes_on=True)

    def _after_blank(self) -> bool:
        return bool(self._lines) and not self._lines[-1].strip()

    def _begins_anew(self) -> bool:
        """Whether the line that has only begun to come is sure to be no part of what was before."""
        first = self._line[:1]
        in_list = first in _ITEM_BEGINS and any(_ITEM.match(before) for before in self._lines)
        return first not in ("", " ", "\t") and not in_list

    def _ends_before(self, line: str) -> bool:
        """Whether the blocks so far are complete, given the line after a blank one."""
        if not line.strip() or line[0] in " \t":
            return False
        return not (_ITEM.match(line) and any(_ITEM.match(before) for before in self._lines))

    def _keep(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line) + 1

    def _break_line(self) -> None:
        """A line without an end: cut it where there is a blank, or wherever it is."""
        at = self._line.rfind(" ", MOST // 2) + 1 or len(self._line)
        self._keep(self._line[:at])
        self._line = self._line[at:]
        self._cut(goes_on=True)

    def _cut(self, *, goes_on: bool = False) -> None:
        if any(line.strip() for line in self._lines) or (self._fence is not None and self._lines):
            self._done.append(self._piece(self._lines, goes_on=goes_on))
        self._lines, self._size = [], 0

    def _piece(self, lines: list[str], *, goes_on: bool = False) -> Piece:
        if self._fence is not None:
            language = self._fence["info"].strip().split(" ")[0]
            return Piece(CODE, "\n".join(lines), language, goes_on)
        return Piece(TEXT, "\n".join(lines).strip("\n"), goes_on=goes_on)
