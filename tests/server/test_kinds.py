"""Kinds by themselves: what each takes, and how what is wrong is told."""

from __future__ import annotations

from typing import Any

import pytest

from wegent.core.errors import InvalidPayload
from wegent.protocol.kinds import Kind
from wegent.server.kinds import read_kind

SPECS: dict[str, dict[str, Any]] = {
    "Ghost": {"systemPrompt": "Be brief.", "mcpServers": {"x": {"command": "y", "env": {"A": "b"}}}, "skills": ["s"]},
    "Model": {"modelConfig": {"model_id": "m", "temperature": 0.5}, "contextWindow": 8_000, "maxOutputTokens": 100},
    "Shell": {"shellType": "Command", "executor": "process", "image": "i", "resources": {"cpu": 1}, "onLost": "rerun"},
    "Bot": {"ghostRef": {"name": "g"}, "shellRef": {"name": "s", "namespace": "n"}, "modelRef": {"name": "m"}},
    "Team": {"members": [{"botRef": {"name": "b"}, "role": "r", "prompt": "p"}], "public": True, "users": ["ada"]},
    "Skill": {"description": "d", "prompt": "p", "config": {"a": [1]}},
    "Device": {"device_id": "box", "slot_max": 2},
    "Workspace": {"git_url": "https://host/repo", "git_repo": "repo", "branch_name": "main"},
    "Task": {"title": "t", "teamRef": {"name": "t"}, "workspaceRef": {"name": "w"}, "task_type": "code"},
}


def document(kind: str = "Ghost", spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "x", **metadata}, "spec": SPECS[kind] if spec is None else spec}


def model(**config: Any) -> dict[str, Any]:
    return document("Model", {"modelConfig": config})


@pytest.mark.parametrize("kind", SPECS)
def test_every_kind_is_kept_as_it_was_written(kind: str) -> None:
    written = read_kind(document(kind, displayName="X", labels={"a": "b"}))
    assert (written.kind, written.namespace, written.name) == (Kind(kind), "default", "x")
    assert written.body["spec"] == SPECS[kind]
    assert written.body["metadata"] == {
        "name": "x",
        "namespace": "default",
        "displayName": "X",
        "labels": {"a": "b"},
    }


def test_what_the_server_gives_and_nulls_are_left_out() -> None:
    given = {**document(spec={"systemPrompt": None}), "id": 7, "status": {"a": 1}, "apiVersion": "wegent/v1"}
    assert read_kind(given).body == read_kind(document(spec={})).body


def test_a_path_completes_the_document_and_is_not_contradicted() -> None:
    written = read_kind({"spec": {}}, Kind.GHOST, "n", "x")
    assert written.label == "Ghost n/x"
    assert read_kind({"metadata": {"name": "x"}, "spec": {}}, Kind.GHOST).label == "Ghost default/x"
    for other in ({"kind": "Bot"}, {"metadata": {"name": "y"}}, {"metadata": {"namespace": "m"}}):
        with pytest.raises(InvalidPayload, match="as the path says"):
            read_kind({"spec": {}, **other}, Kind.GHOST, "n", "x")


@pytest.mark.parametrize(
    ("value", "field", "told"),
    [
        ([], None, "expected a kind, an object with kind, metadata and spec, got an array"),
        ({}, "kind", "expected"),
        ({"kind": "Ghost"}, "metadata", "nothing"),
        ({"kind": "Ghost", "metadata": {"name": "x"}}, "spec", "nothing"),
        ({**document(), "kind": "Spirit"}, "kind", "Ghost"),
        ({**document(), "apiVersion": "v2"}, "apiVersion", "wegent/v1"),
        ({**document(), "specs": {}}, "", "there is no field 'specs'; did you mean 'spec'?"),
        (document(title="X"), "metadata", "there is no field 'title'; it has displayName, labels, name, namespace"),
        (document(name="-x"), "metadata.name", "a letter or a digit at both ends"),
        (document(name="a/b"), "metadata.name", "letters, digits"),
        (document(name="a\n"), "metadata.name", "letters, digits"),
        (document(name="é"), "metadata.name", "letters, digits"),
        (document(name="x" * 101), "metadata.name", "1 to 100"),
        (document(namespace=""), "metadata.namespace", "1 to 255"),
        (document(labels={"a": 1}), "metadata.labels[]", "a string"),
        (document(spec={"sytemPrompt": ""}), "spec", "did you mean 'systemPrompt'?"),
        (document(spec={"systemPrompt": 1}), "spec.systemPrompt", "got an integer"),
        (document(spec={"systemPrompt": "a\0"}), "spec", "text with U+0000"),
        (document("Skill", {"config": {"\ud800": 1}}), "spec", "half of a surrogate pair"),
        (document(spec={"skills": [1]}), "spec.skills[0]", "expected a string"),
        (document("Bot", {"shellRef": {"name": "s"}}), "spec.ghostRef", "nothing"),
        (document("Bot", {**SPECS["Bot"], "ghostRef": {"nam": "g"}}), "spec.ghostRef", "did you mean 'name'?"),
        (document("Team", {"members": []}), "spec.members", "1 to 1000 items, got 0 items"),
        (document("Team", {"members": [{"bot": 1}]}), "spec.members[0]", "did you mean 'botRef'?"),
        (document("Team", {**SPECS["Team"], "collaborationModel": "pipeline"}), "spec.collaborationModel", "solo"),
        (document("Shell", {"shellType": "x" * 65}), "spec.shellType", "1 to 64"),
        (document("Shell", {"shellType": "x", "executor": "device:1:box"}), "spec.executor", "name of an executor"),
        (document("Shell", {"shellType": "x", "onLost": "weep"}), "spec.onLost", "fail, rerun, reassign"),
        (model(base_url="http://x"), "spec.modelConfig.model_id", "nothing"),
        (model(timeout="x"), "spec.modelConfig.timeout", "a number"),
        (model(model_id="m", base_url="file:///x"), "spec.modelConfig.base_url", "http"),
        (model(api_key={"env": "HOME"}), "spec.modelConfig.api_key", "WEGENT_SECRET_"),
        (document("Task", {"teamRef": {"name": "t"}, "task_type": "x"}), "spec.task_type", "chat, code, task"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_field(value: Any, field: str | None, told: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        read_kind(value)
    assert told in caught.value.sentence
    assert caught.value.details.get("field") == field
    assert len(caught.value.sentence) < 400


def test_an_error_repeats_little_of_a_long_name() -> None:
    with pytest.raises(InvalidPayload) as caught:
        read_kind(document(spec={"x" * 10_000: 1}))
    assert len(caught.value.sentence) < 200
