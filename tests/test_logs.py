"""Log lines: readable, parsable, without tokens."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime

import jwt
import pytest

from wegent.logs import configure, redact

TOKEN = jwt.encode({"sub": "ada", "user_id": 1}, b"s" * 64, algorithm="HS256")
log = logging.getLogger("wegent.tests")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    for handler in before:
        root.removeHandler(handler)
    yield io.StringIO()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_text_line_names_time_level_logger_and_fields(lines: io.StringIO) -> None:
    configure("text", "info", stream=lines)
    log.warning("run %s failed", 7, extra={"task_id": 3})
    log.debug("not this")
    time, rest = lines.getvalue().split(" ", 1)
    assert datetime.strptime(time, "%H:%M:%S.%f")  # noqa: DTZ007 - a time of the day
    assert rest == "WARNING wegent.tests: run 7 failed  task_id=3\n"


def test_words_cannot_make_a_line_of_their_own(lines: io.StringIO) -> None:
    configure("text", stream=lines)
    log.info("said %s", "x\n12:00:00 ERROR wegent: forged")
    assert lines.getvalue().count("\n") == 1


def test_a_json_line_is_one_object(lines: io.StringIO) -> None:
    configure("json", logging.DEBUG, stream=lines)
    log.info("said\n%s", "世界 🌍 \x00", extra={"task_id": 3, "share": 0.5, "level": "mine", "of": {"a": 1}})
    line = json.loads(lines.getvalue())
    time = line.pop("time")
    assert datetime.fromisoformat(time).tzinfo is not None
    assert line == {
        "level": "INFO",
        "logger": "wegent.tests",
        "message": "said\n世界 🌍 \ufffd",
        "task_id": 3,
        "share": 0.5,
        "of": "{'a': 1}",
    }


def test_half_of_a_surrogate_pair_does_not_cost_the_line(lines: io.StringIO) -> None:
    configure("json", stream=lines)
    log.info("half \ud83d", extra={"name_of_it": "\ud83d"})
    assert json.loads(lines.getvalue())["message"] == "half \ufffd"


@pytest.mark.parametrize("format", ["text", "json"])
def test_tokens_are_struck_out_everywhere(lines: io.StringIO, format: str) -> None:
    configure(format, stream=lines)  # type: ignore[arg-type]
    log.info("got %s", TOKEN, extra={"header": f"Bearer {TOKEN}", "values": [TOKEN]})
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        log.exception("failed with %r", {"token": TOKEN})
    said = lines.getvalue()
    assert "ValueError: bad token [token]" in said
    assert "Traceback" in said
    for part in TOKEN.split("."):
        assert part not in said


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"a {TOKEN} b", "a [token] b"),
        (f"/x?token={TOKEN}&y", "/x?token=[token]&y"),
        (TOKEN.rsplit(".", 1)[0] + ".", "[token]"),
        ("Authorization: Bearer abcdef0123456789", "Authorization: [token]"),
        ("key sk-abcdefgh12345678.", "key [token]."),
        ("the eyJ of the beholder, sk-1, bearer of news", "the eyJ of the beholder, sk-1, bearer of news"),
    ],
)
def test_what_looks_like_a_token_is_struck_out(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_a_record_that_does_not_format_is_still_told(lines: io.StringIO) -> None:
    configure("text", stream=lines)
    log.info("%d things", "many")
    assert "%d things ('many',)" in lines.getvalue()


def test_configuring_again_replaces_what_was(lines: io.StringIO) -> None:
    configure("text", stream=io.StringIO())
    configure("text", stream=lines)
    log.info("once")
    assert lines.getvalue().count("once") == 1
    assert len(logging.getLogger().handlers) == 1


def test_warnings_are_logged(lines: io.StringIO) -> None:
    configure("text", stream=lines)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old ways", stacklevel=1)
    assert "old ways" in lines.getvalue()


def test_an_unknown_level_is_refused(lines: io.StringIO) -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure("text", "loud", stream=lines)
