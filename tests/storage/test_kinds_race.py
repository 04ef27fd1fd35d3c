"""Writers of kinds at one time, on every database: no update is lost, no reference is left without its end."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import trio

from wegent.core.errors import Conflict, InvalidPayload, Outdated
from wegent.protocol.kinds import Kind
from wegent.server.applying import apply, delete, put, read_kinds
from wegent.server.kinds import read_kind
from wegent.server.ports.store import Store
from wegent.server.teams import add_defaults

WRITERS = 6


async def user(store: Store) -> int:
    def work(unit: Any) -> int:
        add_defaults(unit)
        return unit.add_user(f"u{uuid4().hex}", password_hash=None).id

    return await store.write(work)


def ghost(said: str = "") -> dict[str, Any]:
    return {"kind": "Ghost", "metadata": {"name": "g"}, "spec": {"systemPrompt": said}}


async def test_of_many_who_replace_one_version_one_succeeds(sql_store: Store) -> None:
    owner = await user(sql_store)
    first = (await sql_store.write(lambda unit: apply(unit, owner, read_kinds([ghost()])))).created[0]
    won: list[int] = []

    def unchanged(row: Any) -> None:
        if row != first:
            raise Outdated("it has changed")

    async def write(number: int) -> None:
        try:
            await sql_store.write(lambda unit: put(unit, owner, read_kind(ghost(f"{number}")), unchanged))
        except Outdated:
            return
        won.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(WRITERS):
            nursery.start_soon(write, number)
    row = await sql_store.read(lambda unit: unit.kind(first.id))
    assert [row.body["spec"]["systemPrompt"]] == [f"{number}" for number in won]


async def test_what_is_deleted_is_not_referred_to_meanwhile(sql_store: Store) -> None:
    for _ in range(5):
        owner = await user(sql_store)
        await sql_store.write(lambda unit, owner=owner: apply(unit, owner, read_kinds([ghost()])))
        spec = {"ghostRef": {"name": "g"}, "shellRef": {"name": "chat"}}
        bots = read_kinds([{"kind": "Bot", "metadata": {"name": "b"}, "spec": spec}])
        failed: list[str] = []

        async def refer(owner: int = owner, bots: Any = bots, failed: list[str] = failed) -> None:
            try:
                await sql_store.write(lambda unit: apply(unit, owner, bots))
            except InvalidPayload:
                failed.append("refer")

        async def remove(owner: int = owner, failed: list[str] = failed) -> None:
            try:
                await sql_store.write(lambda unit: delete(unit, owner, Kind.GHOST, "default", "g", lambda row: None))
            except Conflict:
                failed.append("remove")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refer)
            nursery.start_soon(remove)
        assert len(failed) == 1


async def test_of_many_who_make_one_kind_all_find_it(sql_store: Store) -> None:
    owner = await user(sql_store)
    made: list[int] = []

    async def write() -> None:
        applied = await sql_store.write(lambda unit: apply(unit, owner, read_kinds([ghost()])))
        made.append(len(applied.created))

    async with trio.open_nursery() as nursery:
        for _ in range(WRITERS):
            nursery.start_soon(write)
    assert sorted(made) == [0] * (WRITERS - 1) + [1]
