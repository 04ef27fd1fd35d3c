"""YAML: what is written is read back the same, and nothing grows, recurses or runs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wegent import documents
from wegent.documents import DocumentError, read_documents, read_yaml, write_yaml

WORDS = """yes on ~ null 1e5 0o17 0x1F 1_000 1:30 2024-01-01 --- ... -a a: #x << = *a &a !t %x @x `x .inf -.5"""
TRICKY = ["", *WORDS.split()]
LINES = [
    "a\nb",
    "a\r\nb",
    "\n a\n",
    "  x\ny\n\n",
    "x\x85y\nz",
    "x\n\u2028",
    "\ufeffa",
    "🙂\n",
    "\x7f",
    "a\tb\nc",
    "|\n-",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    TRICKY + LINES
)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(params=["with libyaml", "without"])
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.setattr(documents, "_LOADER", yaml.SafeLoader)


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)  # tells True from 1, and 1 from 1.0


@given(st.lists(VALUES.filter(lambda value: value is not None), max_size=3))
def test_what_is_written_is_read_back(values: list[Any]) -> None:
    assert as_json(read_yaml(write_yaml(values))) == as_json(values)


@given(VALUES)
def test_json_is_read_by_either_reader(value: Any) -> None:
    text = json.dumps({"value": value}, ensure_ascii=True).encode()
    assert as_json(read_documents(text)) == as_json([{"value": value}])


def test_scalars_are_those_of_json() -> None:
    text = (
        "a: ~\nb:\nc: yes\nd: 0o17\ne: 1_000\nf: 2024-01-01\ng: 1:30\nh: True\ni: '1'\nj: -.5e1\nk: !  x\nl: |\n  m\n"
    )
    first = {"a": None, "b": None, "c": "yes", "d": 15, "e": "1_000", "f": "2024-01-01", "g": "1:30", "h": True}
    assert as_json(read_yaml(text)) == as_json([{**first, "i": "1", "j": -5.0, "k": "x", "l": "m\n"}])


def test_empty_documents_are_left_out() -> None:
    assert read_yaml("---\n---\na: 1\n---\n# nothing\n---\n- 2\n...\n") == [{"a": 1}, [2]]
    assert read_yaml("") == []


@pytest.mark.usefixtures("_loader")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [x]\nb: [*a, *a]", "line 2: expected the value itself, got an alias"),
        ("a: &a [*a]", "alias"),
        ("!!python/object/apply:os.system ['true']", "expected no tag, got 'tag:yaml.org,2002:python/object"),
        ("!!binary aGk=", "expected no tag"),
        ("a: 1\nb: 2\na: 3", "line 3: expected each key once, got 'a' again"),
        ("[a]: 1", "expected text as a key"),
        ("? {a: b}\n: 1", "expected text as a key"),
        ("a: .nan", "finite numbers"),
        ("a: -.INF", "finite numbers"),
        ("a: 1e999", "finite numbers"),
        ("a: 9223372036854775808", "at most 64 bits"),
        ("1" * 100_000, "at most 64 bits"),
        ("[" * 65 + "]" * 65, "at most 64 levels"),
        ("a: [", "expected YAML, got something else"),
        ("a:\n\t- b", "expected YAML"),
        ("a: \0", "a character that it does not allow"),
        ("--- a\n" * 501, "at most 500 documents"),
        ("---\n" * 501, "at most 500 documents"),
    ],
)
def test_what_json_could_not_say_is_refused(text: str, told: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml(text)
    assert told in caught.value.sentence
    assert len(caught.value.sentence) < 300


def test_the_document_and_the_line_of_an_error_are_named() -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml("a: 1\n---\nb: 2\n---\nc: !x 3\n")
    assert caught.value.document == 3
    assert caught.value.sentence.startswith("line 5: ")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        "{a: " * 250_000,
        "- " * 500_000,
        "? " * 500_000,
        "a" * 1_000_000,
        "\n" * 1_000_000,
        "%A b\n" * 99,
    ],
    ids=lambda text: text[:4],
)
def test_a_megabyte_of_nesting_or_nothing_is_soon_told(text: str) -> None:
    start = time.process_time()
    try:
        read_yaml(text)
    except DocumentError as error:
        assert len(error.sentence) < 300  # noqa: PT017 - some of them are YAML
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"a": }', "expected JSON"),
        (b"\xff", "expected YAML in UTF-8"),
        (b"[" + b"1," * 500 + b"1]", "at most 500 documents, got 501"),
    ],
)
def test_a_text_that_is_neither_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_documents(data)
    assert told in caught.value.sentence


def test_an_array_of_json_is_as_many_documents() -> None:
    assert read_documents(b' [{"a": 1}, {"b": 2}]') == [{"a": 1}, {"b": 2}]
    assert read_documents(b"{a: 1}", json=False) == [{"a": 1}]
    assert read_documents(b"a: 1\n---\nb: 2") == [{"a": 1}, {"b": 2}]
