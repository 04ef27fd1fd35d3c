"""JSON Schemas of attrs classes: their types, and what their checks want (`wegent.protocol.fields`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from wegent.protocol.fields import Check, Variant
from wegent.server.api.describing import Answer, Free, Items, Media, Schema

FREE: dict[str, str] = {
    "Block.tool_input": "a tool's own",
    "Block.tool_output": "a tool's own",
    "DeviceItem.capabilities": "what a device says of itself",
    "JobBot.mcp_servers": "as the Ghost has them, for the agent to read",
    "JobBot.model": "a Model's modelConfig, whose keys depend on the engine",
    "JobBot.resources": "a Shell's resources, whose keys depend on the executor",
    "JobBot.skills": "as the Ghost has them, for the agent to read",
    "JobBot.tools": "a tool's own parameters, as JSON Schema",
    "KindBody.spec": "depends on the kind: kinds.md",
    "KindBody.status": "depends on the kind",
    "KindItem.spec": "depends on the kind: kinds.md",
    "KindItem.status": "depends on the kind",
    "Metadata.labels": "the caller's own",
    "NewTokenItem.claims": "depends on the scope",
    "OtherContext.data": "of a plugin's kind of context",
    "Readiness.details": "a word for each part that plugins bring",
    "Readiness.workers": "by worker: ready, or its details",
    "ReportedResult.app": "checked where it is told, with everything else that an agent says",
    "ReportedResult.blocks": "checked where they are told",
    "ReportedResult.workbench": "an agent's own",
    "ResponseRequest.conversation": "refused, whatever it is",
    "ResponseRequest.metadata": "the caller's own",
    "ResponseRequest.prompt": "refused, whatever it is",
    "ResponseRequest.text": "of its keys only the format counts, and it can't be any but text",
    "ResponseRequest.tools": "refused, whatever they are",
    "RunResult.workbench": "an agent's own",
    "RunnerBlock.tool_input": "a tool's own",
    "RunnerBlock.tool_output": "a tool's own",
    "RunnerSkill.data": "a skill's own",
    "RunnerSkillAnswer.result": "a skill's own",
    "Subtask.contexts": "contexts as they were sent, of plugins too",
    "TokenItem.claims": "depends on the scope",
}
"""Fields of any JSON, each with the reason; a test knows when one is missing here."""
_SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "string", "format": "date-time"},
    NoneType: {"type": "null"},
}


class Schemas:
    """Collects `components`. What is taken may lack more than what is answered, so a class may have two schemas."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self.free: set[str] = set()
        self._classes: dict[str, type[Any]] = {}

    def media(self, answers: tuple[Answer, ...], *, taken: bool = False) -> dict[str, Schema]:
        """The `content` of a request or an answer."""
        content: dict[str, Schema] = {}
        for answer in answers:
            if isinstance(answer, Media):
                content[answer.type] = {"schema": dict(answer.schema)}
            else:
                content["application/json"] = {"schema": self.of(answer, taken=taken)}
        return content

    def needs(self, media: Schema) -> bool:
        """Whether a body of this media type can't be left out."""
        schema: Schema = media["schema"]
        found = self.components.get(schema.get("$ref", "").rpartition("/")[2], schema)
        return bool(found.get("required")) or found.get("type") == "string"

    def of(self, answer: Any, *, taken: bool = False) -> Schema:
        """The schema of an answer's class, or of a page of them."""
        if isinstance(answer, Free):
            return {"type": "object", "description": answer.reason}
        if isinstance(answer, Items):
            properties = {
                "items": {"type": "array", "items": self.of(answer.of)},
                "next_cursor": {"type": "string"},
            }
            return {
                "type": "object",
                "properties": properties,
                "required": ["items"],
                "additionalProperties": False,
            }
        return self._type(answer, taken=taken)

    def _type(self, kind: Any, *, taken: bool) -> Schema:
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            return self._union(arguments, taken=taken)
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (tuple, list):
            return {"type": "array", "items": self._type(arguments[0], taken=taken)}
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"type": "string", "enum": [each.value for each in kind]}
        if isinstance(kind, type) and issubclass(kind, Variant) and not attrs.has(kind):
            return {"anyOf": [self._type(each, taken=taken) for each in kind.__subclasses__()]}
        if isinstance(kind, type) and attrs.has(kind):
            return {"$ref": f"#/components/schemas/{self._component(kind, taken=taken)}"}
        if origin in (dict, Mapping) or kind is dict:
            return {"type": "object"}
        return {}

    def _union(self, arguments: tuple[Any, ...], *, taken: bool) -> Schema:
        found = [self._type(each, taken=taken) for each in arguments]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _component(self, kind: type[Any], *, taken: bool) -> str:
        name = f"{kind.__name__}Taken" if taken else kind.__name__
        if self._classes.setdefault(name, kind) is not kind:
            message = f"two classes are called {name}"
            raise TypeError(message)
        if name not in self.components:
            self.components[name] = {}  # it may refer to itself
            self.components[name] = self._object(kind, taken=taken)
        return name

    def _object(self, kind: type[Any], *, taken: bool) -> Schema:
        hints = get_type_hints(kind)
        properties: dict[str, Schema] = {}
        required = []
        for field in attrs.fields(kind):
            properties[field.name] = self._field(kind, field, hints[field.name], taken=taken)
            if field.default is attrs.NOTHING or (not taken and field.default is not None):
                required.append(field.name)
        found: Schema = {"type": "object", "properties": properties}
        if required:
            found["required"] = required
        if not taken and "to_wire" not in vars(kind):  # those write more than their fields
            found["additionalProperties"] = False
        if kind.__doc__:
            found["description"] = " ".join(kind.__doc__.split())
        return found

    def _field(self, kind: type[Any], field: attrs.Attribute[Any], hint: Any, *, taken: bool) -> Schema:
        if not taken and field.default is None:  # absent, never null
            hint = _without_none(hint)
        schema = self._type(hint, taken=taken)
        checks = _checks(field.validator) if taken else []
        for check in checks:
            schema = _merged(schema, check.schema())
        if _is_free(schema):
            self.free.add(f"{kind.__name__}.{field.name}")
        if taken and field.default is not attrs.NOTHING and not _takes_null(schema):
            return {"anyOf": [schema, {"type": "null"}]}  # null is as good as absent
        return schema


def _takes_null(schema: Schema) -> bool:
    return not schema or any(each.get("type") == "null" for each in schema.get("anyOf", ()))


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        left = tuple(each for each in get_args(hint) if each is not NoneType)
        return Union[left] if left else hint  # noqa: UP007 - made of a tuple
    return hint


def _checks(validator: Any) -> list[Check]:
    if isinstance(validator, Check):
        return [validator]
    return [each for each in getattr(validator, "_validators", ()) if isinstance(each, Check)]


def _merged(schema: Schema, more: Schema) -> Schema:
    """Put a check's words where its values are: null passes every check."""
    if not more:
        return schema
    if "anyOf" in schema:
        return {"anyOf": [each if each.get("type") == "null" else _merged(each, more) for each in schema["anyOf"]]}
    if "$ref" in schema or schema.get("type") == "null":
        return schema
    items = {"items": _merged(schema["items"], more["items"])} if "items" in schema and "items" in more else {}
    return {**schema, **{key: value for key, value in more.items() if key != "items"}, **items}


def _is_free(schema: Schema) -> bool:
    if "anyOf" in schema:
        return any(map(_is_free, schema["anyOf"]))
    if schema.get("type") == "array":
        return _is_free(schema["items"])
    return not schema.keys() & {"type", "$ref", "enum"} or schema == {"type": "object"}
