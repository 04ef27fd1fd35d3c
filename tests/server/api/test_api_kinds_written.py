"""Kinds written over REST: by whom, in which form, against which version."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wegent.documents import read_yaml

YAML = {"Content-Type": "application/yaml"}
GHOST = {"metadata": {"name": "g"}, "spec": {"systemPrompt": "Hi."}}
SHELL = {"kind": "Shell", "metadata": {"name": "s"}, "spec": {"shellType": "Chat"}}
BOT = {"kind": "Bot", "metadata": {"name": "b"}, "spec": {"ghostRef": {"name": "g"}, "shellRef": {"name": "s"}}}
TEAM = {"kind": "Team", "metadata": {"name": "t"}, "spec": {"members": [{"botRef": {"name": "b"}}]}}
WHOLE = [TEAM, BOT, SHELL, {"kind": "Ghost", **GHOST}]
DEEP = b'{"kind": "Skill", "metadata": {"name": "g"}, "spec": {"config": {"a": ' + b"[" * 70 + b"]" * 70 + b"}}}"
ONE = "/kinds/ghost/default/g"


async def put(scene: Any, path: str = ONE, body: Any = GHOST, **given: Any) -> Any:
    return await scene.call("PUT", f"/api/v1{path}", body=body, **given)


async def delete(scene: Any, path: str = ONE, **given: Any) -> Any:
    return await scene.call("DELETE", f"/api/v1{path}", **given)


async def test_a_kind_is_made_read_changed_and_deleted(scene: Any) -> None:
    made = await scene.post("/kinds/ghost", GHOST)
    assert (made.status, made.headers["Location"]) == (201, f"/api/v1{ONE}")
    assert made.json == {
        "id": made.json["id"],
        "apiVersion": "wegent/v1",
        "kind": "Ghost",
        "metadata": {"name": "g", "namespace": "default"},
        "spec": {"systemPrompt": "Hi."},
    }
    again = await scene.post("/kinds/ghost", GHOST)
    assert (again.status, again.json["code"]) == (409, "CONFLICT")
    assert "Ghost default/g is there already" in again.json["error"]
    changed = await put(scene, body={"spec": {}})
    assert (changed.status, changed.json["spec"], changed.json["id"]) == (200, {}, made.json["id"])
    assert (await scene.get(ONE)).json == changed.json
    gone = await delete(scene)
    assert (gone.status, gone.json) == (200, {"success": True})
    assert (await scene.get(ONE)).status == 404
    assert (await delete(scene)).status == 404
    assert (await put(scene)).status == 201


async def test_an_old_version_is_neither_replaced_nor_deleted(scene: Any) -> None:
    first = await put(scene)
    assert first.headers["ETag"] == (await scene.get(ONE)).headers["ETag"]
    old = {"If-Match": first.headers["ETag"]}
    changed = await put(scene, body={"spec": {}}, headers=old)
    assert changed.status == 200
    assert changed.headers["ETag"] != first.headers["ETag"]
    for answer in (await put(scene, headers=old), await delete(scene, headers=old)):
        assert (answer.status, answer.json["code"]) == (412, "CONFLICT")
    assert (await put(scene, headers={"If-Match": "nonsense"})).status == 412
    assert (await put(scene, headers={"If-Match": "W/" + changed.headers["ETag"]})).status == 412
    assert (await put(scene, headers={"If-None-Match": "*"})).status == 412
    assert (await scene.get(ONE)).json["spec"] == {}
    assert (await delete(scene, headers={"If-Match": "*"})).status == 200
    assert (await put(scene, headers={"If-Match": "*"})).status == 412
    assert (await put(scene, headers={"If-None-Match": "*"})).status == 201


async def test_one_made_again_is_another_version(scene: Any) -> None:
    first = await put(scene)
    await delete(scene)
    assert (await put(scene)).headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize("reader", ["bob", "boss"])
async def test_nobody_sees_or_changes_anothers_kinds_or_learns_of_them(scene: Any, reader: str) -> None:
    assert (await scene.post("/kinds/apply", WHOLE)).status == 200
    team = (await scene.get("/kinds/team/default/t")).json["id"]
    for kind, name in (("ghost", "g"), ("shell", "s"), ("bot", "b"), ("team", "t")):
        theirs, none = f"/kinds/{kind}/default/{name}", f"/kinds/{kind}/default/none"
        for scope in ("", "?scope=own", "?scope=public"):
            there, nothing = await scene.get(theirs + scope, token=reader), await scene.get(none + scope, token=reader)
            assert (there.status, there.body) == (nothing.status, nothing.body) == (404, nothing.body)
        there, nothing = await delete(scene, theirs, token=reader), await delete(scene, none, token=reader)
        assert (there.status, there.body) == (404, nothing.body)
        listed = await scene.get(f"/kinds/{kind}", token=reader)
        assert name not in [item["metadata"]["name"] for item in listed.json["items"]]
    refused = await scene.post("/kinds/apply", [BOT], token=reader)
    assert (refused.status, refused.json["field"]) == (400, "spec.ghostRef")
    assert (await put(scene, token=reader)).status == 201
    assert (await scene.get(ONE)).json["spec"] == GHOST["spec"]
    sent = await scene.post("/tasks", {"team_id": team, "message": "x"}, token=reader)
    assert sent.status == 403


@pytest.mark.parametrize("path", ["/kinds/apply", "/kinds/ghost"])
async def test_public_kinds_are_written_by_admins_alone(scene: Any, path: str) -> None:
    body = {"kind": "Ghost", **GHOST}
    refused = await scene.post(f"{path}?scope=public", body)
    assert (refused.status, refused.json["code"]) == (403, "ACCESS_DENIED")
    assert (await scene.get(ONE)).status == 404
    assert (await scene.post(f"{path}?scope=public", body, token="boss")).status in (200, 201)
    assert (await scene.get(ONE)).json["spec"] == GHOST["spec"]
    assert (await put(scene, f"{ONE}?scope=public", {"spec": {}})).status == 403
    assert (await delete(scene, f"{ONE}?scope=public")).status == 403
    assert (await delete(scene)).status == 404
    assert (await delete(scene, f"{ONE}?scope=public", token="boss")).status == 200


async def test_ones_own_goes_before_the_public_one_and_a_scope_chooses(scene: Any) -> None:
    await put(scene, f"{ONE}?scope=public", {"spec": {"systemPrompt": "public"}}, token="boss")
    await put(scene, body={"spec": {"systemPrompt": "own"}})
    for scope, said in {"": "own", "?scope=own": "own", "?scope=public": "public"}.items():
        assert (await scene.get(ONE + scope)).json["spec"]["systemPrompt"] == said
    for scope, names in {"": ["assistant", "g", "g"], "?scope=own": ["g"], "?scope=public": ["assistant", "g"]}.items():
        items = (await scene.get(f"/kinds/ghost{scope}")).json["items"]
        assert [item["metadata"]["name"] for item in items] == names
    assert (await scene.get(f"{ONE}?scope=mine")).status == 400


async def test_apply_tells_what_became_of_each(scene: Any) -> None:
    first = await scene.post("/kinds/apply", WHOLE)
    assert [(item["kind"], item["name"]) for item in first.json["created"]] == [
        ("Team", "t"),
        ("Bot", "b"),
        ("Shell", "s"),
        ("Ghost", "g"),
    ]
    changed = {"kind": "Ghost", **GHOST, "spec": {}}
    second = (await scene.post("/kinds/apply", [changed, SHELL, {**SHELL, "metadata": {"name": "s2"}}])).json
    assert {word: [item["name"] for item in items] for word, items in second.items()} == {
        "created": ["s2"],
        "changed": ["g"],
        "unchanged": ["s"],
    }


async def test_what_is_wrong_undoes_all_and_names_document_and_field(scene: Any) -> None:
    wrong = {**BOT, "spec": {**BOT["spec"], "ghostRef": {"name": "nobody"}}}
    answer = await scene.post("/kinds/apply", [SHELL, wrong])
    assert answer.status == 400
    assert (answer.json["document"], answer.json["field"]) == (2, "spec.ghostRef")
    assert answer.json["error"].startswith(
        "document 2 (Bot default/b): `spec.ghostRef`: there is no Ghost default/nobody"
    )
    assert (await scene.get("/kinds/shell/default/s")).status == 404


async def test_a_team_that_was_made_can_be_talked_to(scene: Any) -> None:
    await scene.post("/kinds/apply", [*WHOLE[1:], {**TEAM, "spec": {**TEAM["spec"], "users": ["bob"]}}])
    team = (await scene.get("/kinds/team/default/t")).json
    assert team["spec"]["users"] == ["bob"]
    seen = (await scene.get("/kinds/team/default/t", token="bob")).json
    assert seen["id"] == team["id"]
    assert "users" not in seen["spec"]
    for token, status in (("ada", 201), ("bob", 201), ("boss", 403)):
        sent = await scene.post("/tasks", {"team_id": team["id"], "message": "x"}, token=token)
        assert sent.status == status


async def test_yaml_is_taken_and_given(scene: Any) -> None:
    text = (
        b"kind: Ghost\nmetadata: {name: g}\nspec:\n  systemPrompt: |\n    One.\n    Two.\n---\n"
        + json.dumps(SHELL).encode()
    )
    for headers in (YAML, {"Content-Type": "text/yaml; charset=utf-8"}, {}):
        assert (await scene.post("/kinds/apply", data=text, headers=headers)).status == 200
    one = await scene.get(ONE, headers={"Accept": "application/yaml"})
    assert one.headers["Content-Type"] == "application/yaml"
    assert b"systemPrompt: |\n    One.\n    Two.\n" in one.body
    assert read_yaml(one.body.decode()) == [(await scene.get(ONE)).json]
    listed = await scene.get("/kinds/ghost?limit=1", headers={"Accept": "application/yaml, application/json;q=0.5"})
    assert [item["metadata"]["name"] for item in read_yaml(listed.body.decode())] == ["assistant"]
    assert listed.headers["Next-Cursor"] == (await scene.get("/kinds/ghost?limit=1")).json["next_cursor"]
    assert (await put(scene, body=None, data=one.body, headers=YAML)).json["id"] == (await scene.get(ONE)).json["id"]
    assert (await scene.get(ONE, headers={"Accept": "text/html"})).headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("data", "headers", "told"),
    [
        (b"a: &a [x, x]\nb: [*a, *a]\n", YAML, "an alias"),
        (b"[" * 100_000, YAML, "nesting"),
        (b"[" * 100_000, {}, "JSON"),
        (b"{a: 1}", {"Content-Type": "application/json"}, "JSON"),
        (b'{"a": "\\ud800"}', {}, "surrogate"),
        (b"\xff\xfe", YAML, "UTF-8"),
        (b"", {}, "at least one document"),
        (b"--- a\n" * 501, YAML, "at most 500 documents"),
        (b"!!python/name:os.system x", YAML, "no tag"),
        (DEEP, {}, "64 levels"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_documents_is_refused(scene: Any, data: bytes, headers: Any, told: str) -> None:
    answer = await scene.post("/kinds/apply", data=data, headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert told in answer.json["error"]
    assert len(answer.body) < 600


async def test_a_body_over_the_limit_is_refused(scene: Any) -> None:
    answer = await scene.post("/kinds/apply", data=b"#" * 1_000_001, headers=YAML)
    assert answer.status == 413


async def test_one_kind_is_one_document(scene: Any) -> None:
    for body in ([GHOST, GHOST], []):
        assert (await scene.post("/kinds/ghost", body)).status == 400


async def test_a_page_ends_before_it_gets_too_large(scene: Any) -> None:
    for n in range(6):
        await put(scene, f"/kinds/ghost/default/g{n}", {"spec": {"systemPrompt": "x" * 900_000}})
    first = (await scene.get("/kinds/ghost?scope=own")).json
    rest = (await scene.get(f"/kinds/ghost?scope=own&cursor={first['next_cursor']}")).json
    assert [len(page["items"]) for page in (first, rest)] == [2, 2]


async def test_an_api_key_is_kept_when_it_comes_back_hidden(scene: Any) -> None:
    path = "/kinds/model/default/m"
    spec = {"modelConfig": {"model_id": "m", "base_url": "https://host", "api_key": "sk-1"}}
    made = await put(scene, path, {"spec": spec})
    assert b"sk-1" not in made.body
    shown = made.json
    shown["spec"]["modelConfig"]["model_id"] = "other"
    assert b"sk-1" not in (await put(scene, path, shown)).body
    row = await scene.store.read(lambda unit: unit.kind(made.json["id"]))
    assert row.body["spec"]["modelConfig"] == {"model_id": "other", "base_url": "https://host", "api_key": "sk-1"}
    refused = await put(scene, "/kinds/model/default/m", {"spec": shown["spec"]}, token="bob")
    assert (refused.status, refused.json["field"]) == (400, "spec.modelConfig.api_key")
    assert (await scene.get("/kinds/model/default/m", token="bob")).status == 404
