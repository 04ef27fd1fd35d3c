"""Kinds are written whole or not at all, fit together, and go only where nothing refers to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wegent.core.clock import SystemClock
from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, NotFound
from wegent.core.model import Principal
from wegent.documents import read_yaml, write_yaml
from wegent.protocol.kinds import Kind
from wegent.server import applying
from wegent.server.applying import Scope, apply, delete, owner_of, read_kinds, summary
from wegent.server.kind_secrets import HIDDEN, hide
from wegent.server.owners import device_target
from wegent.server.ports.store import Store
from wegent.server.records import User
from wegent.server.specs import job_of
from wegent.server.teams import add_defaults, setup_of
from wegent.storage import open_store
from wegent.storage.memory import MemoryStore

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = {"model_id": "m", "base_url": "https://host/v1", "api_key": "sk-1"}


def doc(kind: str, name: str, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, **metadata}, "spec": {} if spec is None else spec}


def bot(name: str = "b", ghost: str = "g", shell: str = "s", **more: Any) -> dict[str, Any]:
    return doc("Bot", name, {"ghostRef": {"name": ghost}, "shellRef": {"name": shell}, **more})


def team(name: str = "t", member: str = "b", **more: Any) -> dict[str, Any]:
    return doc("Team", name, {"members": [{"botRef": {"name": member}}], **more})


def model(**config: Any) -> dict[str, Any]:
    return doc("Model", "m", {"modelConfig": {**MODEL, **config}})


SHELL = doc("Shell", "s", {"shellType": "Chat"})
WHOLE = [team(), bot(), doc("Ghost", "g", {"systemPrompt": "Hi."}), SHELL]


class House:
    """A store with two users and an admin."""

    def __init__(self, store: Store, users: list[User]) -> None:
        self.store = store
        self.ada, self.bob, self.boss = users

    async def apply(self, documents: list[Any], who: User | None) -> Any:
        written = read_kinds(documents)
        return summary(await self.store.write(lambda unit: apply(unit, who.id if who else None, written)))

    async def delete(self, kind: str, name: str, who: User | None) -> None:
        def work(unit: Any) -> None:
            delete(unit, who.id if who else None, Kind(kind), "default", name, lambda row: None)

        await self.store.write(work)

    async def kind(self, kind: str, name: str, who: User | None) -> Any:
        user_id = who.id if who else None
        return await self.store.read(lambda unit: unit.kind_named(kind, "default", name, user_id=user_id))

    async def all(self) -> list[Any]:
        return await self.store.read(lambda unit: [row for kind in Kind for row in unit.kinds(kind, limit=500)])


async def furnish(store: Store) -> House:
    def work(unit: Any) -> list[User]:
        add_defaults(unit)
        roles = {"ada": "user", "bob": "user", "boss": "admin"}
        return [unit.add_user(name, password_hash=None, role=role) for name, role in roles.items()]

    return House(store, await store.write(work))


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    if request.param == "memory":
        yield await furnish(MemoryStore(SystemClock()))
        return
    async with open_store(f"sqlite:///{tmp_path}/x.db", clock=SystemClock()) as store:
        yield await furnish(store)


def counts(summary: dict[str, list[Any]]) -> tuple[int, ...]:
    return tuple(len(summary[word]) for word in ("created", "changed", "unchanged"))


async def test_the_order_of_documents_does_not_matter_and_a_second_time_changes_nothing(house: House) -> None:
    assert counts(await house.apply(WHOLE, house.ada)) == (4, 0, 0)
    before = await house.all()
    assert counts(await house.apply(WHOLE[::-1], house.ada)) == (0, 0, 4)
    assert await house.all() == before
    made = await house.kind("Team", "t", house.ada)
    setup = await house.store.read(lambda unit: setup_of(unit, made))
    assert (setup.bot_name, setup.shell_type, setup.system_prompt) == ("b", "Chat", "Hi.")


async def test_what_is_changed_keeps_its_id(house: House) -> None:
    first = await house.apply(WHOLE, house.ada)
    again = await house.apply(
        [team(displayName="T", users=["bob"]) | doc("Team", "t", team()["spec"]), SHELL], house.ada
    )
    assert counts(again) == (0, 0, 2)
    again = await house.apply([team(users=["bob"]), SHELL], house.ada)
    assert counts(again) == (0, 1, 1)
    assert again["changed"][0] == first["created"][0]


async def test_true_is_another_value_than_one(house: House) -> None:
    await house.apply([doc("Skill", "k", {"config": {"a": 1}})], house.ada)
    for value in (True, 1.0, "1"):
        assert counts(await house.apply([doc("Skill", "k", {"config": {"a": value}})], house.ada)) == (0, 1, 0)


@pytest.mark.parametrize(
    ("documents", "number", "field", "told"),
    [
        ([SHELL, bot(ghost="nobody")], 2, "spec.ghostRef", "there is no Ghost default/nobody that is yours or public"),
        ([doc("Ghost", "g"), bot(shell="no")], 2, "spec.shellRef", "Shell default/no"),
        ([*WHOLE[2:], bot(modelRef={"name": "m", "namespace": "n"})], 3, "spec.modelRef", "Model n/m"),
        ([*WHOLE[1:], team(member="x")], 4, "spec.members[0].botRef", "Bot default/x"),
        ([SHELL, doc("Ghost", "g", {"sytemPrompt": ""})], 2, "spec", "did you mean 'systemPrompt'?"),
        ([SHELL, SHELL], 2, "metadata.name", "document 1 has this name already"),
        ([SHELL, model(api_key=HIDDEN)], 2, "spec.modelConfig.api_key", "there is none"),
        ([SHELL, model(base_url=HIDDEN)], 2, "spec.modelConfig.base_url", "there is none"),
        ([model(api_key={"env": "WEGENT_SECRET_X"})], 1, "spec.modelConfig.api_key", "only public models"),
        ([SHELL, doc("Task", "x", {"teamRef": {"name": "no"}})], 2, "spec.teamRef", "Team default/no"),
        ([], None, None, "at least one document"),
        ([SHELL, 7], 2, None, "expected a kind"),
    ],
)  # fmt: skip
async def test_one_wrong_document_undoes_all(
    house: House, documents: list[Any], number: int | None, field: str | None, told: str
) -> None:
    before = await house.all()
    with pytest.raises(InvalidPayload) as caught:
        await house.apply(documents, house.ada)
    assert told in caught.value.sentence
    assert (caught.value.details.get("document"), caught.value.details.get("field")) == (number, field)
    assert await house.all() == before


async def test_references_lead_to_ones_own_first_and_to_public_ones_but_to_nobody_elses(house: House) -> None:
    await house.apply([doc("Ghost", "g"), SHELL], house.bob)
    with pytest.raises(InvalidPayload, match="there is no Ghost default/g that is yours or public"):
        await house.apply([bot()], house.ada)
    await house.apply([doc("Ghost", "g", {"systemPrompt": "public"}), SHELL], None)
    await house.apply([bot(), team()], house.ada)
    made = await house.kind("Team", "t", house.ada)
    assert (await house.store.read(lambda unit: setup_of(unit, made))).system_prompt == "public"
    await house.apply([doc("Ghost", "g", {"systemPrompt": "own"})], house.ada)
    assert (await house.store.read(lambda unit: setup_of(unit, made))).system_prompt == "own"
    with pytest.raises(InvalidPayload, match="that is public"):
        await house.apply([bot("p", ghost="own-only")], None)


async def test_what_is_referred_to_stays_and_its_referrers_are_named(house: House) -> None:
    await house.apply(WHOLE, house.ada)
    await house.apply([model(), bot(modelRef={"name": "m"})], house.ada)
    for kind, name, by in (("Ghost", "g", "Bot"), ("Shell", "s", "Bot"), ("Model", "m", "Bot"), ("Bot", "b", "Team")):
        with pytest.raises(Conflict, match=f"{kind} default/{name} is referred to by {by} default/[bt]; change"):
            await house.delete(kind, name, house.ada)
    for kind, name in (("Team", "t"), ("Bot", "b"), ("Model", "m"), ("Shell", "s"), ("Ghost", "g")):
        await house.delete(kind, name, house.ada)
        with pytest.raises(NotFound):
            await house.delete(kind, name, house.ada)


async def test_of_a_public_kind_the_users_are_counted_not_named(house: House) -> None:
    await house.apply([doc("Ghost", "g"), SHELL], None)
    await house.apply([bot("secret-plan")], house.ada)
    await house.apply([bot("own"), doc("Ghost", "g")], house.bob)  # bob's leads to his own
    with pytest.raises(Conflict) as caught:
        await house.delete("Ghost", "g", None)
    assert "is referred to by 1 of users; change these first" in caught.value.sentence
    await house.delete("Bot", "secret-plan", house.ada)
    await house.delete("Ghost", "g", None)


async def test_many_referrers_are_not_all_named(house: House) -> None:
    await house.apply([doc("Ghost", "g"), SHELL, *(bot(f"b{n}") for n in range(120))], house.ada)
    with pytest.raises(Conflict, match=r"b0, .*b4, 115 more; change these first"):
        await house.delete("Ghost", "g", house.ada)


async def test_hidden_secrets_stay_what_they_are(house: House) -> None:
    config = {**MODEL, "base_url": "https://u:pw@host/", "headers": {"X": "sk-2"}, "keys": ["sk-3", "sk-4"]}
    await house.apply([model(**config)], house.ada)
    shown = hide((await house.kind("Model", "m", house.ada)).body)
    assert "sk-" not in str(shown)
    assert "pw" not in str(shown)
    assert counts(await house.apply([{"kind": "Model", **shown}], house.ada)) == (0, 0, 1)
    shown["spec"]["modelConfig"] |= {"model_id": "other", "api_key": "sk-5"}
    assert counts(await house.apply([{"kind": "Model", **shown}], house.ada)) == (0, 1, 0)
    stored = (await house.kind("Model", "m", house.ada)).body["spec"]["modelConfig"]
    assert stored == {**config, "model_id": "other", "api_key": "sk-5"}
    shown["spec"]["modelConfig"]["keys"] = [HIDDEN]
    with pytest.raises(InvalidPayload, match="write the secret itself"):
        await house.apply([{"kind": "Model", **shown}], house.ada)


async def test_a_text_that_looks_hidden_is_a_text_where_nothing_is_secret(house: House) -> None:
    await house.apply([doc("Ghost", "g", {"systemPrompt": HIDDEN})], house.ada)
    assert (await house.kind("Ghost", "g", house.ada)).body["spec"] == {"systemPrompt": HIDDEN}


async def test_a_public_model_takes_its_key_from_the_environment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"env": "WEGENT_SECRET_TEST"}
    await house.apply([model(api_key=key), doc("Ghost", "g"), SHELL, bot(modelRef={"name": "m"}), team()], None)
    made = await house.kind("Team", "t", None)
    with pytest.raises(Conflict, match="environment"):
        await house.store.read(lambda unit: setup_of(unit, made))
    monkeypatch.setenv("WEGENT_SECRET_TEST", "sk-9")
    setup = await house.store.read(lambda unit: setup_of(unit, made))
    assert setup.model["api_key"] == "sk-9"
    assert "sk-9" not in repr(setup)
    assert "sk-9" not in str(hide((await house.kind("Model", "m", None)).body))
    # A row that got past the rule gets nothing either.
    body = (await house.kind("Model", "m", None)).body

    def own(unit: Any) -> Any:
        for kind, name in (("Model", "m"), ("Ghost", "g"), ("Shell", "s"), ("Bot", "b"), ("Team", "t")):
            found = unit.kind_named(kind, "default", name, user_id=None).body
            row = unit.put_kind(kind, "default", name, user_id=house.ada.id, body=body if kind == "Model" else found)
        return setup_of(unit, row)

    with pytest.raises(Conflict, match="environment"):
        await house.store.write(own)


async def test_only_admins_write_public_kinds(house: House) -> None:
    def owner(user: User, scope: Scope) -> Any:
        return house.store.read(lambda unit: owner_of(unit, Principal(user.id, user.user_name), scope))

    assert await owner(house.ada, Scope.OWN) == house.ada.id
    assert await owner(house.boss, Scope.OWN) == house.boss.id
    assert await owner(house.boss, Scope.PUBLIC) is None
    with pytest.raises(AccessDenied, match="only an admin"):
        await owner(house.ada, Scope.PUBLIC)


async def test_a_user_has_no_more_kinds_than_one_may(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "MAX_OWN", 3)
    with pytest.raises(Conflict, match="may have 3 kinds"):
        await house.apply(WHOLE, house.ada)
    await house.apply(WHOLE[2:], house.ada)
    await house.apply(WHOLE[2:], house.ada)
    await house.apply(WHOLE, None)


@pytest.mark.parametrize("name", ["command-team.yaml", "model-team.yaml"])
async def test_the_examples_can_be_applied(house: House, name: str) -> None:
    documents = read_yaml((EXAMPLES / name).read_text(encoding="utf-8"))
    assert counts(await house.apply(documents, None)) == (len(documents), 0, 0)
    assert counts(await house.apply(documents, None)) == (0, 0, len(documents))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
GHOSTS = st.fixed_dictionaries(
    {},
    optional={
        "systemPrompt": TEXTS,
        "skills": st.lists(TEXTS.filter(bool), max_size=3),
        "mcpServers": st.dictionaries(st.sampled_from("xyz"), JSONS, max_size=2),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(GHOSTS, min_size=1, max_size=3), st.booleans())
async def test_what_is_applied_comes_out_the_same_and_can_be_applied_again(ghosts: list[Any], as_yaml: bool) -> None:
    house = await furnish(MemoryStore(SystemClock()))
    documents = [doc("Ghost", f"g{n}", spec) for n, spec in enumerate(ghosts)]
    given_ = read_yaml(write_yaml(documents)) if as_yaml else documents
    assert counts(await house.apply(given_, house.ada)) == (len(documents), 0, 0)
    rows = [(await house.kind("Ghost", f"g{n}", house.ada)).body for n in range(len(documents))]
    assert [row["spec"] for row in rows] == ghosts
    shown = [{"kind": "Ghost", **hide(row)} for row in rows]
    assert counts(await house.apply(read_yaml(write_yaml(shown)), house.ada)) == (0, 0, len(documents))


async def test_secrets_of_others_do_not_go_to_a_users_device(house: House) -> None:
    ghost = doc("Ghost", "g", {"mcpServers": {"open": {"command": "x"}, "closed": {"env": {"A": "sk-2"}}}})
    shared = [model(temperature=0.5), ghost, SHELL, bot(modelRef={"name": "m"}), team(users=["bob"])]
    await house.apply(shared, house.ada)

    def told(unit: Any, target: str) -> Any:
        made = unit.kind_named("Team", "default", "t", user_id=house.ada.id)
        task = unit.add_task(owner_id=house.bob.id, team_id=made.id, team_name="t", title="x", messages=2)
        sent = {"task": task, "sender_id": house.bob.id, "sender_name": "bob"}
        asked = unit.add_subtask(message_id=1, role="USER", status="COMPLETED", prompt="x", **sent)
        row = unit.add_subtask(
            message_id=2, role="ASSISTANT", status="PENDING", answers=asked.id, target=target, **sent
        )
        return job_of(unit, task, row).bot

    for target in ("process", device_target(house.ada.id, "box")):
        job = await house.store.write(lambda unit, target=target: told(unit, target))
        assert (job.model["api_key"], set(job.mcp_servers)) == ("sk-1", {"open", "closed"})
    job = await house.store.write(lambda unit: told(unit, device_target(house.bob.id, "box")))
    assert "sk-" not in str(job)
    assert (job.model["model_id"], job.model["temperature"], set(job.mcp_servers)) == ("m", 0.5, {"open"})
