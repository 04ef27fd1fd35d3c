"""What every `Presence` must do, as tests: subclass `PresenceContract` as `Test…`, and give it a fixture `presence`.

    class TestMyPresence(PresenceContract):
        @pytest.fixture
        async def presence(self): ...

The tests share a broker without harm. They are Trio's, for pytest-trio in its Trio mode, on a real clock.
"""

from __future__ import annotations

import itertools
import os

import pytest
import trio

from wegent.core.ports.presence import Presence
from wegent.testing.checkpoints import Cut, at_every_checkpoint

PATIENCE_S = 10.0
LONG_S = 60.0
_STRANGE = ["", "*", "?", "[a]", "\\", "é\U0001f680", " ", "\n", "\0"]

_names = itertools.count()


def name() -> str:
    """The beginning of keys that no other test has."""
    return f"test:{os.getpid()}.{next(_names)}:"


async def lapsed(presence: Presence, key: str) -> None:
    """Wait until the key is gone."""
    with trio.fail_after(PATIENCE_S):
        while await presence.get(key) is not None:  # noqa: ASYNC110 - nobody announces it
            await trio.sleep(0.005)


class PresenceContract:
    """Keys come, are renewed, and go."""

    async def test_a_key_is_there_until_it_lapses(self, presence: Presence) -> None:
        key = name()
        assert await presence.get(key) is None
        await presence.set(key, "here", ttl=LONG_S)
        assert await presence.get(key) == "here"
        await presence.set(key, "here", ttl=0.02)
        await lapsed(presence, key)
        assert await presence.find(key) == {}

    async def test_setting_again_renews_and_replaces(self, presence: Presence) -> None:
        key, other = name(), name()
        for each in (key, other):
            await presence.set(each, "old", ttl=0.05)
        await presence.set(key, "new", ttl=LONG_S)
        await lapsed(presence, other)
        assert await presence.get(key) == "new"

    async def test_a_key_is_discarded_only_with_the_value_it_has(self, presence: Presence) -> None:
        key = name()
        assert not await presence.discard(key, "mine")
        await presence.set(key, "theirs", ttl=LONG_S)
        assert not await presence.discard(key, "mine")
        assert await presence.get(key) == "theirs"
        assert await presence.discard(key, "theirs")
        assert await presence.get(key) is None
        assert await presence.find(key) == {}

    @pytest.mark.parametrize("strange", _STRANGE, ids=range(len(_STRANGE)))
    async def test_any_text_is_a_key_and_a_value(self, presence: Presence, strange: str) -> None:
        key = name() + strange
        await presence.set(key, strange, ttl=LONG_S)
        assert await presence.get(key) == strange
        assert await presence.find(key) == {key: strange}

    async def test_keys_are_found_by_how_they_begin(self, presence: Presence) -> None:
        base = name()
        for number in range(3):
            await presence.set(f"{base}a{number}", str(number), ttl=LONG_S)
            await presence.set(f"{base}b{number}", str(number), ttl=LONG_S)
        await presence.set(f"{base}a1", "late", ttl=0.02)
        await lapsed(presence, f"{base}a1")
        assert await presence.find(f"{base}a") == {f"{base}a0": "0", f"{base}a2": "2"}
        assert len(await presence.find(base)) == 5
        assert await presence.find(f"{base}c") == {}

    async def test_thousands_of_keys_are_found(self, presence: Presence) -> None:
        base = name()
        async with trio.open_nursery() as nursery:
            for number in range(2_500):
                nursery.start_soon(_set, presence, f"{base}{number}", str(number))
        assert await presence.find(base) == {f"{base}{number}": str(number) for number in range(2_500)}

    async def test_cancelled_calls_do_not_mix_up_answers(self, presence: Presence) -> None:
        base = name()
        await presence.set(f"{base}a", "a", ttl=LONG_S)
        await presence.set(f"{base}b", "b", ttl=LONG_S)

        async def attempt(cut: Cut) -> None:
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await presence.get(f"{base}a")
                await presence.set(f"{base}c", "c", ttl=LONG_S)
                await presence.find(base)
            assert await presence.get(f"{base}b") == "b"

        await at_every_checkpoint(attempt)
        assert await presence.find(base) == {f"{base}{each}": each for each in "abc"}


async def _set(presence: Presence, key: str, value: str) -> None:
    await presence.set(key, value, ttl=LONG_S)
