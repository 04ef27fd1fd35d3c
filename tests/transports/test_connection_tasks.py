"""Tasks of a connection end with it, and harm no other."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from wegent.transports.tasks import ConnectionTasks


def unexpected() -> None:
    raise AssertionError


async def test_tasks_end_with_their_connection_and_no_others_do() -> None:
    mine, others = trio.Event(), trio.Event()

    async def wait(ended: trio.Event) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        tasks, neighbours = ConnectionTasks(nursery, unexpected), ConnectionTasks(nursery, unexpected)
        tasks.start_soon(wait, mine)
        neighbours.start_soon(wait, others)
        await trio.testing.wait_all_tasks_blocked()
        tasks.cancel()
        await mine.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert not others.is_set()
        neighbours.cancel()


async def test_nothing_begins_once_the_connection_has_ended() -> None:
    async with trio.open_nursery() as nursery:
        tasks = ConnectionTasks(nursery, unexpected)
        began = trio.Event()

        async def begin() -> None:
            began.set()

        tasks.start_soon(begin)  # has not begun yet when the connection ends
        tasks.cancel()
        tasks.start_soon(begin)
    assert not began.is_set()


async def test_nothing_begins_where_the_transport_ends() -> None:
    async with trio.open_nursery() as nursery:
        tasks = ConnectionTasks(nursery, unexpected)
        nursery.cancel_scope.cancel()
    tasks.start_soon(trio.sleep_forever)


async def test_a_task_that_fails_ends_its_connection_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError

    async with trio.open_nursery() as nursery:
        failed = trio.Event()
        with caplog.at_level(logging.CRITICAL, "wegent.transports.tasks"):
            ConnectionTasks(nursery, failed.set).start_soon(fail)
            await failed.wait()
        assert not nursery.cancel_scope.cancel_called
