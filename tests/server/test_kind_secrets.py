"""What is hidden and written back is what it was."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wegent.server.kind_secrets import HIDDEN, hide, keep, without_secrets

KEYS = st.sampled_from(["a", "api_key", "env", "headers", "base_url", "auth_token", "env2"])
SAID = st.sampled_from(["", "x", HIDDEN, "https://u:pw@host", "https://host", "WEGENT_SECRET_X"])
VALUES = st.recursive(
    SAID | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


@given(OBJECTS)
def test_what_was_hidden_stays_what_it_is(value: dict[str, Any]) -> None:
    hidden = hide(value)
    assert hide(hidden) == hidden
    assert keep(hidden, value) == value


@given(OBJECTS)
def test_nothing_secret_is_shown(value: dict[str, Any]) -> None:
    assert "pw" not in str(hide(value))
    assert "pw" not in str(without_secrets(value))


def test_what_is_secret_is_told_by_its_name() -> None:
    given_ = {"api_key": "a", "Authorization": "b", "env": {"A": "c", "n": 1}, "max_tokens": 5, "said": "d", "key": ""}
    shown = {**given_, "api_key": HIDDEN, "Authorization": HIDDEN, "env": {"A": HIDDEN, "n": 1}}
    assert hide(given_) == shown
    assert without_secrets(given_) == {"max_tokens": 5, "said": "d", "key": ""}


def test_a_reference_to_the_environment_is_no_secret() -> None:
    value = {"api_key": {"env": "WEGENT_SECRET_X"}, "token": {"env": "HOME"}}
    assert hide(value) == {"api_key": {"env": "WEGENT_SECRET_X"}, "token": {"env": HIDDEN}}
