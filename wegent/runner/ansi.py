"""Keeps the control sequences of terminals out of a text (ECMA-48)."""

from __future__ import annotations

import re

_TEXT, _ESCAPE, _CONTROL, _STRING, _STRING_ESCAPE = range(5)
_BEGIN = re.compile("[\x1b\x90\x98\x9b\x9d\x9e\x9f]")
_STRINGS = "\x90\x98\x9d\x9e\x9f"
_STRING_END = re.compile("[\x07\x1b\x9c\n]")


class AnsiStripper:
    """Takes text as it comes, however it is split, and gives it back without sequences; keeps none of it."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = _TEXT

    def feed(self, text: str) -> str:
        """The text without sequences; a string that a newline breaks ends there."""
        kept: list[str] = []
        at = 0
        while at < len(text):
            if self._state == _TEXT:
                found = _BEGIN.search(text, at)
                kept.append(text[at : found.start() if found else len(text)])
                if found is None:
                    break
                self._state = _begun_by(found[0])
                at = found.end()
            elif self._state == _STRING:
                end = _STRING_END.search(text, at)
                if end is None:
                    break
                self._state = _STRING_ESCAPE if end[0] == "\x1b" else _TEXT
                at = end.start() if end[0] == "\n" else end.end()
            else:
                at += self._within(text[at])
        return "".join(kept)

    def _within(self, character: str) -> int:
        """One character of an escape or control sequence; 0 if it belongs to what follows."""
        if self._state == _STRING_ESCAPE:  # ESC \ ends a string; any other sequence does so too
            self._state = _TEXT if character == "\\" else _ESCAPE
            return int(character == "\\")
        if self._state == _ESCAPE:
            if character == "[":
                self._state = _CONTROL
            elif character in "]PX^_":
                self._state = _STRING
            elif not " " <= character <= "/":
                self._state = _TEXT
                return int("0" <= character <= "~")
            return 1
        if " " <= character <= "?":
            return 1
        self._state = _TEXT
        return int("@" <= character <= "~")


def _begun_by(character: str) -> int:
    if character == "\x1b":
        return _ESCAPE
    return _STRING if character in _STRINGS else _CONTROL
