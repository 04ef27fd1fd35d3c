"""Full-text search over some documents: BM25 (Robertson and Zaragoza, 2009), in memory, in plain Python.

Words are compared case folded; scripts that put no blanks between words are taken two letters at a time.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from attrs import frozen

PASSAGE = 1_200
"""Code points that a passage has at most, unless one line has more."""
K1, B = 1.2, 0.75
MOST_TERMS = 64
"""Different words of a question that count."""

_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_DENSE}]+|[^\W_{_DENSE}]+")
_IS_DENSE = re.compile(f"[{_DENSE}]")
_BREAK = re.compile(r"\n\s*\n")


@frozen
class Passage:
    """A piece of a document."""

    title: str
    text: str


@frozen
class Found:
    """A passage that fits a question, the better the higher its score."""

    passage: Passage
    score: float


def terms_of(text: str) -> Iterator[str]:
    """The words that a text is found by."""
    for match in _WORD.finditer(text.casefold()):
        word = match[0]
        if _IS_DENSE.match(word) and len(word) > 1:
            yield from (word[at : at + 2] for at in range(len(word) - 1))
        else:
            yield word


def passages_of(title: str, text: str) -> Iterator[Passage]:
    """The text in pieces: paragraphs together as far as they fit, longer ones cut at ends of lines or words."""
    piece = ""
    for part in (part for paragraph in _BREAK.split(text) for part in _cut(paragraph.strip())):
        if piece and len(piece) + len(part) + 2 > PASSAGE:
            yield Passage(title, piece)
            piece = ""
        piece = f"{piece}\n\n{part}" if piece else part
    if piece:
        yield Passage(title, piece)


def _cut(paragraph: str) -> Iterator[str]:
    while len(paragraph) > PASSAGE:
        at = max(paragraph.rfind(mark, PASSAGE // 2, PASSAGE) for mark in "\n. ") + 1 or PASSAGE
        yield paragraph[:at].strip()
        paragraph = paragraph[at:].strip()
    if paragraph:
        yield paragraph


class Index:
    """Passages, found by their words."""

    def __init__(self, documents: Iterable[tuple[str, str]]) -> None:
        """Of documents, each a title and a text. Takes about a second for a million code points."""
        self._passages: list[Passage] = []
        self._lengths: list[int] = []
        self._postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for title, text in documents:
            for passage in passages_of(title, text):
                self._add(passage)
        self._average = sum(self._lengths) / len(self._lengths) if self._lengths else 1.0

    def _add(self, passage: Passage) -> None:
        counts = Counter(terms_of(f"{passage.title} {passage.text}"))
        for term, count in counts.items():
            self._postings[term].append((len(self._passages), count))
        self._passages.append(passage)
        self._lengths.append(counts.total())

    def __len__(self) -> int:
        return len(self._passages)

    def search(self, question: str, most: int) -> list[Found]:
        """The passages that fit best, best first; none that shares no word with the question."""
        scores: defaultdict[int, float] = defaultdict(float)
        terms = dict.fromkeys(terms_of(question))
        for term in list(terms)[:MOST_TERMS]:
            postings = self._postings.get(term, ())
            weight = math.log(1 + (len(self._passages) - len(postings) + 0.5) / (len(postings) + 0.5))
            for passage, count in postings:
                length = 1 - B + B * self._lengths[passage] / self._average
                scores[passage] += weight * count * (K1 + 1) / (count + K1 * length)
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:most]
        return [Found(self._passages[passage], score) for passage, score in best]
