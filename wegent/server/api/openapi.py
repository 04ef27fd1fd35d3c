"""The OpenAPI document of all calls below `/api/v1`, made of what stands beside their routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from quart import Blueprint, Quart, current_app
from quart_trio.wrappers import TrioResponse
from werkzeug.routing import Rule

from wegent.server.api.calls import PREFIX, reply, scopes_of
from wegent.server.api.describing import Free, Media, Operation, Query, Schema, describes, operation_of
from wegent.server.api.docs_page import POLICY, docs_page
from wegent.server.api.schemas import Schemas

_CONVERTER = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "anyOf": [{"type": "string"}, {"type": "object", "description": "as OpenAI's clients want it"}],
            "description": "what was wrong, and what would be right",
        },
        "code": {"type": "string"},
    },
    "required": ["error", "code"],
}
_ERRORS = {
    "400": "the path, a parameter or the body is not as it should be",
    "401": "no token, or one that is not good",
    "403": "not for you",
    "404": "there is nothing of that name that you may know of",
    "405": "another method",
    "408": "the body did not come in time",
    "409": "the state does not allow it",
    "412": "not the version that was named",
    "413": "too large",
    "415": "another media type",
    "429": "too often; `Retry-After` says when to come back",
    "500": "a defect of the server",
    "503": "not now; `Retry-After` says when to come back",
}


def openapi_blueprint() -> Blueprint:
    """`GET /openapi.json`, and `GET /docs`, which shows it; open to everybody."""
    blueprint = Blueprint("openapi", __name__, url_prefix=PREFIX)

    @blueprint.get("/openapi.json")
    @describes("This document", answers=Free("OpenAPI 3.1"))
    async def document() -> TrioResponse:
        return reply(make_document(current_app))

    @blueprint.get("/docs")
    @describes("This document, to be read", answers=Media("text/html"))
    async def docs() -> TrioResponse:
        response = TrioResponse(docs_page(make_document(current_app)), content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return blueprint


def make_document(app: Quart) -> dict[str, Any]:
    """The document of those calls of an application that are below the prefix and were described."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for rule, method, operation in described(app):
        item = paths.setdefault(_CONVERTER.sub(r"{\g<name>}", rule.rule), {})
        scopes = scopes_of(app.blueprints[rule.endpoint.partition(".")[0]])
        item[method.lower()] = _operation(rule, method, operation, schemas, scopes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Wegent", "version": version("wegent")},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**dict(sorted(schemas.components.items())), "Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def described(app: Quart) -> Iterator[tuple[Rule, str, Operation]]:
    """Each call that is below the prefix and was described."""
    for rule in app.url_map.iter_rules():
        operation = operation_of(app.view_functions.get(rule.endpoint))
        if rule.rule.startswith(PREFIX) and operation is not None:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method, operation


def _operation(rule: Rule, method: str, operation: Operation, schemas: Schemas, scopes: tuple[str, ...]) -> Schema:
    made: Schema = {
        "operationId": f"{method.lower()}_{rule.endpoint.replace('.', '_')}",
        "tags": [rule.rule.removeprefix(PREFIX).split("/")[1]],
        "summary": operation.summary,
        "parameters": [*_path_parameters(rule), *map(_parameter, operation.query)],
        "responses": {
            **{
                str(status): {"description": operation.summary, "content": schemas.media(answers)}
                for status, answers in operation.answers.items()
            },
            **{
                status: {
                    "description": about,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for status, about in _ERRORS.items()
                if int(status) not in operation.answers
            },
        },
    }
    if operation.takes:
        content = schemas.media(operation.takes, taken=True)
        made["requestBody"] = {"content": content, "required": any(map(schemas.needs, content.values()))}
    if scopes:
        made["security"] = [{"bearer": []}]
        made["description"] = "For tokens of scope " + ", ".join(scopes) + "."
    return made


def _path_parameters(rule: Rule) -> list[Schema]:
    names = [match["name"] for match in _CONVERTER.finditer(rule.rule)]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _parameter(query: Query) -> Schema:
    about = {"description": query.about} if query.about else {}
    return {"name": query.name, "in": query.place, "required": False, "schema": dict(query.schema), **about}
