"""What every store must do with users, tokens, kinds and members."""

from __future__ import annotations

import pytest

from wegent.core.errors import Conflict
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Kind, Token
from wegent.testing.store_scene import NOON, SECOND, scene, task, unique, user


class PeopleContract:
    """Who there is, and what is theirs."""

    async def test_a_user_is_found_by_id_and_name(self, store: Store) -> None:
        name = unique("Ünï")
        made = await store.write(lambda unit: unit.add_user(name, password_hash="h", role="admin"))  # noqa: S106
        assert (made.user_name, made.password_hash, made.role, made.active) == (name, "h", "admin", True)
        assert await store.read(lambda unit: unit.user(made.id)) == made
        assert await store.read(lambda unit: unit.user_named(name)) == made

    async def test_names_are_equal_to_the_letter(self, store: Store) -> None:
        name = unique("anna")
        others = [name.upper(), name + " ", name.replace("a", "ä"), name.replace("a", "á")]

        def work(unit: Unit) -> list[int]:
            return [unit.add_user(each, password_hash=None).id for each in (name, *others)]

        ids = await store.write(work)
        for id_, each in zip(ids, (name, *others), strict=True):
            found = await store.read(lambda unit, each=each: unit.user_named(each))  # type: ignore[misc]
            assert found is not None
            assert (found.id, found.user_name) == (id_, each)
        assert await store.read(lambda unit: unit.user_named(name + "  ")) is None

    async def test_a_taken_name_is_a_conflict_and_the_unit_may_go_on(self, store: Store) -> None:
        name = unique("user")

        def work(unit: Unit) -> int:
            with pytest.raises(Conflict):
                unit.add_user(name, password_hash=None)
            return unit.add_user(unique("user"), password_hash=None).id

        first = await store.write(lambda unit: unit.add_user(name, password_hash=None))
        assert await store.write(work) > first.id

    async def test_a_user_is_changed(self, store: Store) -> None:
        made = await store.write(user)
        changed = await store.write(lambda unit: unit.update_user(made.id, active=False, avatar="a.png"))
        assert (changed.active, changed.avatar, changed.user_name) == (False, "a.png", made.user_name)
        assert await store.read(lambda unit: unit.user(made.id)) == changed
        assert await store.write(lambda unit: unit.update_user(made.id)) == changed

    async def test_users_come_in_pages_by_id(self, store: Store) -> None:
        made = await store.write(lambda unit: [user(unit) for _ in range(5)])
        before = made[0].id - 1
        first = await store.read(lambda unit: unit.users(after_id=before, limit=3))
        rest = await store.read(lambda unit: unit.users(after_id=first[-1].id, limit=3))
        assert [*first, *rest][:5] == made

    async def test_a_token_is_listed_until_and_after_it_is_revoked(self, store: Store) -> None:
        owner = await store.write(user)
        old = Token(unique("j"), owner.id, "user", "laptop", {"device_id": "d"}, NOON, NOON + SECOND)
        new = Token(unique("j"), owner.id, "device", "box", {}, NOON + SECOND, None)

        def work(unit: Unit) -> None:
            unit.add_token(old)
            unit.add_token(new)

        await store.write(work)
        assert await store.read(lambda unit: unit.tokens(owner.id)) == [new, old]
        assert await store.read(lambda unit: unit.tokens(owner.id, scope="device")) == [new]
        assert new in await store.read(lambda unit: unit.tokens(scope="device"))
        everybody = await store.read(lambda unit: unit.tokens())
        assert old in everybody
        assert new in everybody
        revoked = await store.write(lambda unit: unit.revoke_token(old.jti, NOON))
        assert revoked.revoked_at == NOON
        assert old.jti in (await store.read(lambda unit: unit.shut_out(NOON)))[0]
        assert old.jti not in (await store.read(lambda unit: unit.shut_out(NOON + SECOND)))[0]
        again = await store.write(lambda unit: unit.revoke_token(old.jti, NOON + SECOND))
        assert again.revoked_at == NOON
        assert await store.read(lambda unit: unit.token(old.jti)) == revoked
        assert await store.read(lambda unit: unit.token(unique("j"))) is None

    async def test_a_kind_is_made_then_replaced(self, store: Store) -> None:
        owner = await store.write(user)
        name = unique("Assistant")
        body = {"metadata": {"name": name}, "spec": {"n": 1.5, "deep": [{"é": None}]}}
        made = await store.write(lambda unit: unit.put_kind("Team", "default", name, user_id=owner.id, body=body))
        assert made.body == body
        again = await store.write(lambda unit: unit.put_kind("Team", "default", name, user_id=owner.id, body={}))
        assert (again.id, again.body, again.created_at) == (made.id, {}, made.created_at)
        found = await store.read(lambda unit: unit.kind_named("Team", "default", name, user_id=owner.id))
        assert found == again
        assert await store.read(lambda unit: unit.kind(made.id)) == again
        await store.write(lambda unit: unit.delete_kind(made.id))
        assert await store.read(lambda unit: unit.kind(made.id)) is None

    async def test_a_unit_sees_what_it_did_to_a_kind_that_it_had_read(self, store: Store) -> None:
        name = unique("Assistant")

        def work(unit: Unit) -> None:
            def seen() -> Kind | None:
                return unit.kind_named("Team", "default", name, user_id=None)

            assert seen() is None
            made = unit.put_kind("Team", "default", name, user_id=None, body={"n": 1})
            assert seen() == unit.kind(made.id) == made
            changed = unit.put_kind("Team", "default", name, user_id=None, body={"n": 2})
            assert seen() == unit.kind(made.id) == changed
            unit.delete_kind(made.id)
            assert seen() is None
            assert unit.kind(made.id) is None

        await store.write(work)

    async def test_a_public_kind_and_ones_of_users_may_have_one_name(self, store: Store) -> None:
        name = unique("Assistant")

        def work(unit: Unit) -> list[int]:
            owners = [None, user(unit).id, user(unit).id]
            made = [unit.put_kind("Team", "default", name, user_id=each, body={}) for each in owners]
            found = [unit.kind_named("Team", "default", name, user_id=each) for each in owners]
            assert made == found
            assert unit.kind_named("Team", "default", name.upper(), user_id=None) is None
            assert unit.kind_named("Bot", "default", name, user_id=None) is None
            return [each.id for each in made]

        ids = await store.write(work)
        listed = await store.read(lambda unit: unit.kinds("Team", after_id=ids[0] - 1))
        assert [each.id for each in listed] == ids
        page = await store.read(lambda unit: unit.kinds("Team", after_id=ids[0], limit=1))
        assert [each.id for each in page] == ids[1:2]
        owner = listed[2].user_id
        assert owner is not None
        mine = await store.read(lambda unit: unit.kinds("Team", user_id=owner))
        assert [each.id for each in mine] == ids[2:]
        assert await store.read(lambda unit: unit.count_kinds(owner)) == 1

    async def test_members_come_go_and_come_back(self, store: Store) -> None:
        owner, made, _ = await scene(store)
        guest = await store.write(user)
        joined = await store.write(lambda unit: unit.put_member(made.id, guest.id, last_read_message_id=3))
        assert (joined.role, joined.user_name, joined.last_read_message_id) == ("member", guest.user_name, 3)
        assert await store.read(lambda unit: unit.members(made.id)) == [joined]
        gone = await store.write(lambda unit: unit.put_member(made.id, guest.id, removed_at=NOON))
        assert await store.read(lambda unit: unit.members(made.id)) == []
        assert await store.read(lambda unit: unit.member(made.id, guest.id)) == gone
        await store.write(lambda unit: unit.put_member(made.id, guest.id, removed_at=None))
        assert await store.read(lambda unit: unit.members(made.id)) == [joined]
        assert await store.write(lambda unit: unit.put_member(made.id, guest.id)) == joined
        assert await store.read(lambda unit: unit.member(made.id, owner.id)) is None

    async def test_what_a_member_has_read_only_grows(self, store: Store) -> None:
        owner, made, _ = await scene(store)
        await store.write(lambda unit: unit.put_member(made.id, owner.id, role="owner"))

        async def marked(message_id: int) -> int:
            row = await store.write(lambda unit: unit.mark_read(made.id, owner.id, message_id))
            assert row is not None
            assert row == await store.read(lambda unit: unit.member(made.id, owner.id))
            return row.last_read_message_id

        assert [await marked(each) for each in (0, 4, 2, 4, 7)] == [0, 4, 4, 4, 7]
        await store.write(lambda unit: unit.put_member(made.id, owner.id, removed_at=NOON))
        assert await store.write(lambda unit: unit.mark_read(made.id, owner.id, 9)) is None
        guest = await store.write(user)
        assert await store.write(lambda unit: unit.mark_read(made.id, guest.id, 9)) is None

    async def test_places_are_the_users_active_ones_among_the_tasks(self, store: Store) -> None:
        owner, first, others = await scene(store, lambda unit, of, _: [task(unit, of) for _ in range(3)])
        guest = await store.write(user)

        def work(unit: Unit) -> None:
            for each in (first, *others):
                unit.put_member(each.id, guest.id)
            unit.put_member(first.id, owner.id, role="owner")
            unit.put_member(others[1].id, guest.id, removed_at=NOON)

        await store.write(work)
        asked = [first.id, others[0].id, others[1].id]
        found = await store.read(lambda unit: unit.places(guest.id, asked))
        assert {key: row.user_id for key, row in found.items()} == {first.id: guest.id, others[0].id: guest.id}
        assert set(await store.read(lambda unit: unit.places(owner.id, asked))) == {first.id}
        assert await store.read(lambda unit: unit.places(guest.id, [])) == {}

    async def test_tasks_of_a_user_are_the_own_ones_and_those_of_groups(self, store: Store) -> None:
        owner, first, _ = await scene(store)
        guest, second, _ = await scene(store)

        def work(unit: Unit) -> None:
            unit.put_member(first.id, guest.id)
            unit.put_member(second.id, guest.id)
            unit.put_member(task(unit, owner).id, guest.id, removed_at=NOON)

        await store.write(work)
        ids = {each.id for each in await store.read(lambda unit: unit.tasks_of(guest.id))}
        assert ids == {first.id, second.id}
