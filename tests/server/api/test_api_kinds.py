"""Kinds over REST: who sees what."""

from __future__ import annotations

from typing import Any

import pytest

from wegent.server.api import kinds

MEMBERS = [{"botRef": {"name": "assistant"}}]


async def put(scene: Any, owner: Any, kind: str, name: str, spec: dict[str, Any] | None = None) -> int:
    body = {"metadata": {"name": name}, "spec": spec or {}}
    user_id = owner.id if owner else None
    return (await scene.store.write(lambda unit: unit.put_kind(kind, "default", name, user_id=user_id, body=body))).id


async def names(scene: Any, path: str, **given: Any) -> list[str]:
    return [item["metadata"]["name"] for item in (await scene.get(path, **given)).json["items"]]


async def test_the_first_team_is_listed_with_its_id(scene: Any) -> None:
    answer = await scene.get("/kinds/team")
    assert answer.json == {
        "items": [
            {
                "id": scene.team_id,
                "apiVersion": "wegent/v1",
                "kind": "Team",
                "metadata": {"name": "assistant", "namespace": "default", "displayName": "Assistant"},
                "spec": {"members": MEMBERS, "public": True},
            }
        ]
    }
    one = await scene.get("/kinds/team/default/assistant")
    assert (one.status, one.json) == (200, answer.json["items"][0])


async def test_teams_are_seen_by_those_they_are_open_to(scene: Any) -> None:
    await put(scene, scene.ada, "Team", "mine", {"members": MEMBERS})
    await put(scene, scene.bob, "Team", "bobs", {"members": MEMBERS})
    await put(scene, scene.bob, "Team", "for-all", {"members": MEMBERS, "public": True})
    await put(scene, scene.bob, "Team", "for-ada", {"members": MEMBERS, "users": ["ada"]})
    assert await names(scene, "/kinds/team") == ["assistant", "mine", "for-all", "for-ada"]
    assert await names(scene, "/kinds/team", token="boss") == ["assistant", "for-all"]
    for name, status in {"mine": 200, "for-all": 200, "for-ada": 200, "bobs": 404}.items():
        assert (await scene.get(f"/kinds/team/default/{name}")).status == status


async def test_other_kinds_are_ones_own_or_public(scene: Any) -> None:
    await put(scene, scene.ada, "Ghost", "mine")
    await put(scene, scene.bob, "Ghost", "bobs", {"public": True, "users": ["ada"]})
    assert await names(scene, "/kinds/ghost") == ["assistant", "mine"]
    assert (await scene.get("/kinds/ghost/default/bobs")).status == 404


async def test_a_name_is_ones_own_first_then_shared_then_public(scene: Any) -> None:
    public = await put(scene, None, "Team", "same", {"members": MEMBERS})
    assert (await scene.get("/kinds/team/default/same")).json["id"] == public
    shared = await put(scene, scene.bob, "Team", "same", {"members": MEMBERS, "users": ["ada"]})
    assert (await scene.get("/kinds/team/default/same")).json["id"] == shared
    own = await put(scene, scene.ada, "Team", "same", {"members": MEMBERS})
    assert (await scene.get("/kinds/team/default/same")).json["id"] == own


async def test_secrets_are_shown_to_nobody(scene: Any) -> None:
    config = {"model_id": "m", "api_key": "sk-1", "base_url": "https://u:sk-1@host/", "headers": {"X-Org": "sk-1"}}
    spec = {"modelConfig": config, "maxOutputTokens": 100}
    await put(scene, scene.ada, "Model", "mine", spec)
    await put(scene, None, "Model", "public", spec)
    own = await scene.get("/kinds/model/default/mine")
    for answer in (own, await scene.get("/kinds/model/default/public", token="bob"), await scene.get("/kinds/model")):
        assert b"sk-1" not in answer.body
        assert b'"model_id":"m"' in answer.body
        assert b'"maxOutputTokens":100' in answer.body


async def test_kinds_are_listed_page_by_page(scene: Any) -> None:
    for n in range(7):
        await put(scene, scene.ada if n % 2 else scene.bob, "Ghost", f"g{n}")
    first = (await scene.get("/kinds/ghost?limit=2")).json
    rest = (await scene.get(f"/kinds/ghost?limit=2&cursor={first['next_cursor']}")).json
    assert [item["metadata"]["name"] for item in first["items"] + rest["items"]] == ["assistant", "g1", "g3", "g5"]


async def test_a_long_search_ends_early_with_a_cursor(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "SCANNED", 3)
    for n in range(7):
        await put(scene, scene.bob, "Skill", f"s{n}")
    last = await put(scene, scene.ada, "Skill", "mine")
    found, path = [], "/kinds/skill"
    for _ in range(4):
        page = (await scene.get(path)).json
        found += [item["id"] for item in page["items"]]
        if "next_cursor" not in page:
            break
        path = f"/kinds/skill?cursor={page['next_cursor']}"
    assert found == [last]
    assert "next_cursor" not in page


@pytest.mark.parametrize("path", ["/kinds/teams", "/kinds/Team", "/kinds/%00", "/kinds/nothing/default/x"])
async def test_an_unknown_kind_names_the_known(scene: Any, path: str) -> None:
    answer = await scene.get(path)
    assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")
    assert "team" in answer.json["error"]


@pytest.mark.parametrize("path", ["default/none", "other/assistant", "default/%00", "default/" + "x" * 5_000, "%ED/a"])
async def test_an_unknown_name_is_not_found(scene: Any, path: str) -> None:
    answer = await scene.get(f"/kinds/team/{path}")
    assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("search", ["limit=0", "limit=501", "cursor=x", "cursor=WyJhIl0", "cursor=WzEsMl0"])
async def test_a_wrong_parameter_is_refused(scene: Any, search: str) -> None:
    answer = await scene.get(f"/kinds/team?{search}")
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
