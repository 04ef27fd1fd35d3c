"""Whether an answer is what the OpenAPI document says it is; asked of every answer that these tests get."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from quart import Quart
from werkzeug.exceptions import HTTPException

from wegent.server.api.openapi import make_document

_documents: dict[frozenset[str], dict[str, Any]] = {}
"""By the calls that an application has."""


def check_answer(app: Quart, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Fail where the document does not know of the answer, or it is not as the document says."""
    try:
        rule, _ = app.url_map.bind("localhost").match(path.partition("?")[0], method=method, return_rule=True)
    except HTTPException:
        return  # no such call
    if method in ("HEAD", "OPTIONS"):
        return
    document = _document(app)
    called = _called(rule.rule)
    item = document["paths"].get(called)
    if item is None:
        return  # not below the prefix
    responses = item[method.lower()]["responses"]
    assert str(status) in responses, f"{method} {called} answers {status}, which the document does not know"
    content = responses[str(status)]["content"]
    media = content_type.partition(";")[0]
    assert not body or media in content or "application/octet-stream" in content, f"{method} {called}: {media}"
    if media == "application/json" and body and media in content:
        schema = {**content[media]["schema"], "components": document["components"]}
        for error in Draft202012Validator(schema).iter_errors(json.loads(body)):
            place = "/".join(map(str, error.absolute_path))
            raise AssertionError(f"{method} {called} {status} at {place or 'the top'}: {error.message[:300]}")


def _document(app: Quart) -> dict[str, Any]:
    calls = frozenset(app.view_functions)
    if calls not in _documents:
        _documents[calls] = make_document(app)
    return _documents[calls]


def _called(rule: str) -> str:
    """A rule as the document's paths have it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
