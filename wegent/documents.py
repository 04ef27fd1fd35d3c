"""Texts of several documents. The one place that reads and writes YAML, and nothing in it that JSON could not say.

Scalars are those of YAML's core schema (YAML 1.2, section 10.3): `yes`, `on`, `1:30` and dates are text. Aliases and
tags are refused, so a text is never larger than it looks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from wegent.codec import CodecError, decode
from wegent.protocol.limits import MAX_DEPTH

MAX_DOCUMENTS: Final = 500
_INT: Final = re.compile(r"[-+]?[0-9]+")
_OTHER_INT: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LONGEST_NUMBER: Final = 400
"""Characters; what is longer is out of any range."""
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class DocumentError(ValueError):
    """A text that is no such documents; the sentence names the line, where it is known. `document` counts from 1."""

    def __init__(self, what: str, document: int = 1, line: int | None = None) -> None:
        self.sentence = what if line is None else f"line {line}: {what}"
        self.document = document
        super().__init__(self.sentence)


def read_documents(data: bytes, *, json: bool | None = None) -> list[Any]:
    """The documents of a text: of JSON the one, or those in an array. Takes a while: call it in a worker thread.

    Where nobody knows what it is, it is JSON if it begins as an object or an array does, else YAML.

    Raises:
        DocumentError: it is neither, or there are too many documents.
    """
    if json is None:
        json = data.lstrip()[:1] in (b"{", b"[")
    if not json:
        try:
            return read_yaml(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise DocumentError("expected YAML in UTF-8, got other bytes") from None
    try:
        value = decode(data)
    except CodecError as error:
        raise DocumentError(error.sentence) from None
    documents = value if isinstance(value, list) else [value]
    if len(documents) > MAX_DOCUMENTS:
        raise DocumentError(f"expected at most {MAX_DOCUMENTS} documents, got {len(documents)}")
    return documents


def read_yaml(text: str) -> list[Any]:
    """The documents of the text, empty ones left out.

    Raises:
        DocumentError: it is not YAML, too deep, or has something that JSON has not.
    """
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"expected YAML, got something else ({error.problem or error.context})"
        raise DocumentError(what, max(1, reader.number), mark.line + 1 if mark else 1) from None
    except yaml.YAMLError:
        raise DocumentError("expected YAML, got a character that it does not allow", max(1, reader.number), 1) from None
    return reader.documents


class _Reader:
    """Makes values of events, without recursion: depth is for the caller to choose."""

    def __init__(self) -> None:
        self.documents: list[Any] = []
        self.number = 0
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | None] = []

    def take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self.number += 1
                if self.number > MAX_DOCUMENTS:
                    raise self._refused(event, f"expected at most {MAX_DOCUMENTS} documents, got more")
            case AliasEvent():
                raise self._refused(event, "expected the value itself, got an alias (*name)")
            case MappingStartEvent() | SequenceStartEvent():
                self._check_tag(event)
                self._begin({} if isinstance(event, MappingStartEvent) else [], event)
            case MappingEndEvent() | SequenceEndEvent():
                self._open.pop()
                self._keys.pop()
            case ScalarEvent():
                self._check_tag(event)
                self._scalar(event)

    def _begin(self, value: dict[str, Any] | list[Any], event: Event) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise self._refused(event, f"expected at most {MAX_DEPTH} levels, got deeper nesting")
        self._put(value, event)
        self._open.append(value)
        self._keys.append(None)

    def _scalar(self, event: ScalarEvent) -> None:
        if self._open and isinstance(self._open[-1], dict) and self._keys[-1] is None:
            if event.value in self._open[-1]:
                raise self._refused(event, f"expected each key once, got {event.value[:50]!r} again")
            self._keys[-1] = event.value
            return
        value = event.value
        if event.implicit[0]:
            try:
                value = _core(event.value)
            except ValueError:
                raise self._refused(event, "expected finite numbers of at most 64 bits, got another") from None
        if self._open or value is not None:
            self._put(value, event)

    def _put(self, value: Any, event: Event) -> None:
        if not self._open:
            self.documents.append(value)
            return
        holder = self._open[-1]
        if isinstance(holder, list):
            holder.append(value)
            return
        key, self._keys[-1] = self._keys[-1], None
        if key is None:
            raise self._refused(event, "expected text as a key, got a list or a mapping")
        holder[key] = value

    def _check_tag(self, event: Any) -> None:
        if event.tag not in (None, "!"):
            raise self._refused(event, f"expected no tag, got {event.tag[:50]!r}")

    def _refused(self, event: Event, what: str) -> DocumentError:
        return DocumentError(what, max(1, self.number), event.start_mark.line + 1 if event.start_mark else 1)


def _core(text: str) -> Any:
    """What a plain scalar says in the core schema; raises ValueError for numbers that JSON has not."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(text)
    if len(text) > _LONGEST_NUMBER and (_FLOAT.fullmatch(text) or _OTHER_INT.fullmatch(text)):
        raise ValueError(text)
    if _INT.fullmatch(text):
        return _fitting(int(text))
    if _OTHER_INT.fullmatch(text):
        return _fitting(int(text[2:], 8 if text[1] == "o" else 16))
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    return text


def _fitting(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError(number)
    return number


class _Dumper(_DUMPER):  # type: ignore[misc]
    """Texts in blocks where they have lines, and quoted where another reader would take them for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    lines = text.split("\n")
    style = None
    if not all(line.isprintable() for line in lines):
        style = '"'  # what else ends lines in YAML is kept there alone
    elif len(lines) > 1 and all(line == line.rstrip() for line in lines):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
# PyYAML writes for YAML 1.1; these are numbers in 1.2 only.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("+-.0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"^(?:{_OTHER_INT.pattern})$"), ["0"])


def write_yaml(documents: Iterable[Any]) -> str:
    """The documents as a text, in blocks, keys in the order they have."""
    return "---\n".join(_written(documents))


def _written(documents: Iterable[Any]) -> Iterator[str]:
    for document in documents:
        yield yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1 << 20)
