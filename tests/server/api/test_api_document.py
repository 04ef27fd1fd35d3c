"""The OpenAPI document: complete, typed, and what it says is compared with every answer that the tests here get."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.api.conformance import check_answer
from wegent.server.api.openapi import described
from wegent.server.api.schemas import FREE, Schemas


async def test_every_call_is_in_the_document(scene: Any) -> None:
    known = {(rule.rule, method) for rule, method, _ in described(scene.app)}
    for rule in scene.app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1"):
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                assert (rule.rule, method) in known


async def test_what_is_not_typed_is_listed_with_its_reason(scene: Any) -> None:
    schemas = Schemas()
    for _, _, operation in described(scene.app):
        schemas.media(operation.takes, taken=True)
        for answers in operation.answers.values():
            schemas.media(answers)
    assert schemas.free <= set(FREE)
    assert set(FREE) <= schemas.free
    assert all(FREE.values())


async def test_every_reference_of_the_document_is_in_it(scene: Any) -> None:
    document = (await scene.call("GET", "/api/v1/openapi.json", token=None)).json
    names = set(document["components"]["schemas"])

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in names
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(document)
    ids = [call["operationId"] for item in document["paths"].values() for call in item.values()]
    assert len(ids) == len(set(ids)) >= 40


async def test_checks_of_a_body_are_in_its_schema(scene: Any) -> None:
    document = (await scene.call("GET", "/api/v1/openapi.json", token=None)).json
    schema = document["components"]["schemas"]["ChatSendTaken"]
    assert schema["required"] == ["team_id", "message"]
    assert schema["properties"]["team_id"] == {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
    assert schema["properties"]["attachment_ids"]["anyOf"][0]["items"]["minimum"] == 1


async def test_the_page_shows_every_call(scene: Any) -> None:
    answer = await scene.call("GET", "/api/v1/docs", token=None)
    document = (await scene.call("GET", "/api/v1/openapi.json", token=None)).json
    text = answer.body.decode()
    assert all(f"<code>{path}</code>" in text for path in document["paths"])
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (200, b'{"id": 1, "role": "user", "created_at": "2026-01-01T00:00:00Z"}', "user_name"),
        (200, b'{"id": 1, "user_name": "a", "role": "user", "created_at": "2026", "more": 1}', "more"),
        (200, b'{"id": "1", "user_name": "a", "role": "user", "created_at": "2026"}', "id"),
        (418, b"{}", "418"),
    ],
)
async def test_an_answer_that_is_not_as_it_says_is_noticed(scene: Any, status: int, body: bytes, word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_answer(scene.app, "GET", "/api/v1/users/me", status, "application/json", body)
