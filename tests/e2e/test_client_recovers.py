"""Python clients on real sockets whose connections are cut at random: all of them end with what was written."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import trio

from tests.e2e.serving import Server
from wegent.client.problems import ProblemKind
from wegent.client.rest import open_rest
from wegent.client.session import Backoff, Session, open_session
from wegent.client.streams import TaskStream, open_task

QUICK = Backoff(first=0.01, most=0.1)


async def until_ended(stream: TaskStream, subtask_id: int) -> None:
    def is_whole() -> bool:
        message = stream.task.messages.get(subtask_id)
        return message is not None and message.has_ended and not message.truncated

    if not is_whole():
        async for _ in stream:
            if is_whole():
                return


async def disturb(session: Session, stream: TaskStream, chance: random.Random) -> None:
    """Cut the connection, or look as if one had been away, again and again."""
    while True:
        await trio.sleep(chance.uniform(0.02, 0.4))
        if session.link is not None and chance.random() < 0.7:
            session.link.cut()
        else:
            stream.recover()


async def follow(
    server: Server, token: str, task_id: int, subtask_id: int, seed: int, seen: Callable[..., None]
) -> None:
    chance = random.Random(seed)
    async with (
        open_session(server.url, token, backoff=QUICK, first_patience=20) as session,
        open_task(session, task_id) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(disturb, session, stream, chance)
        await until_ended(stream, subtask_id)
        nursery.cancel_scope.cancel()
        seen(seed, stream.task)


@pytest.mark.parametrize("message", ["/long 500", "/tools", "/think", "/emoji"])
async def test_clients_whose_connections_are_cut_end_with_what_was_written(server: Server, message: str) -> None:
    held: dict[int, object] = {}
    problems: list[object] = []

    def seen(seed: int, task: object) -> None:
        held[seed] = task.holds()  # type: ignore[attr-defined]
        problems.extend(task.problems)  # type: ignore[attr-defined]

    with trio.fail_after(60):
        async with open_rest(server.url) as rest:
            token = (await rest.login("admin", "correct horse")).token
            team = (await rest.teams())[0]
        async with open_session(server.url, token) as session, open_task(session) as stream:
            ack = await stream.send(team.id, message)
            answer = ack["assistant_subtask_id"]
            async with trio.open_nursery() as nursery:
                for seed in range(5):
                    nursery.start_soon(follow, server, token, ack["task_id"], answer, seed, seen)
                await until_ended(stream, answer)
            seen(-1, stream.task)
        async with open_session(server.url, token) as session, open_task(session, ack["task_id"]) as stream:
            await until_ended(stream, answer)
            last = stream.task.holds()
    assert last[-1]["status"] == "COMPLETED"
    assert all(found == last for found in held.values())
    assert [problem for problem in problems if problem.kind is not ProblemKind.OLD_ATTEMPT] == []  # type: ignore[attr-defined]
