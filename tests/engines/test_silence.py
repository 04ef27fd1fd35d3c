"""Time-outs that count only the time that somebody was waited for."""

from __future__ import annotations

import pytest
import trio

from wegent.engines.silence import watched


async def test_silence_cuts_at_its_limit(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    async with watched(60) as silence:
        silence.listen()
        await trio.sleep_forever()
    assert silence.broken
    assert trio.current_time() - start == 60


async def test_what_was_heard_puts_it_off(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    async with watched(60) as silence:
        for _ in range(5):
            silence.listen()
            await trio.sleep(59)
            silence.hear()
        silence.listen()
        await trio.sleep_forever()
    assert trio.current_time() - start == 5 * 59 + 60


async def test_time_that_nobody_is_waited_for_does_not_count(autojump_clock: trio.testing.MockClock) -> None:
    async with watched(60) as silence:
        silence.listen()
        silence.hear()
        await trio.sleep(1000)
    assert not silence.broken


async def test_a_shorter_limit_counts_at_once(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    async with watched(1000) as silence:
        silence.listen()
        await trio.sleep(10)
        silence.expect(5)
        silence.listen()
        await trio.sleep_forever()
    assert silence.broken
    assert trio.current_time() - start == 15


async def test_an_error_comes_out_as_itself() -> None:
    with pytest.raises(KeyError):
        async with watched(60):
            raise KeyError


async def test_a_cancellation_comes_out_as_itself() -> None:
    seen: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            async with watched(60):
                await trio.sleep_forever()
        except BaseException as error:
            seen.append(error)
            raise
    assert [type(error) for error in seen] == [trio.Cancelled]
