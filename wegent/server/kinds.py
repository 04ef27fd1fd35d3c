"""Kinds as they are written: each checked by itself, before anything is looked up (protocol §10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
from attrs import field, frozen

from wegent.codec import CodecError, convert, unknown_fields, without_nulls
from wegent.core.config import nearest
from wegent.core.errors import InvalidPayload
from wegent.core.text import clean
from wegent.protocol.chat_shell import UNNAMED, ModelConfig
from wegent.protocol.fields import json_type
from wegent.protocol.kinds import SPECS, BotSpec, Kind, Ref, Resource, TaskSpec, TeamSpec
from wegent.server import records
from wegent.server.kind_secrets import HIDDEN, SECRET_VARIABLE, is_reference

NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
NAME_RULE: Final = "1 to 100 letters, digits, dots, hyphens and underscores, a letter or a digit at both ends"
COLLABORATION: Final = ("solo",)
"""What `collaborationModel` may be."""
_SHOWN: Final = 50
"""Characters of what somebody wrote that an error repeats."""


@frozen
class Written:
    """A kind that somebody wants to be. `body` is what is stored of it: metadata and spec, without nulls."""

    kind: Kind
    namespace: str
    name: str
    body: Mapping[str, Any] = field(repr=False)

    @property
    def label(self) -> str:
        """What it is called in sentences."""
        return label(self.kind, self.namespace, self.name)


def label(kind: str, namespace: str, name: str) -> str:
    """Such as `Bot default/helper`."""
    return f"{kind} {namespace}/{name}"


def refused(path: str, problem: str) -> InvalidPayload:
    """The error about one field of a kind."""
    return InvalidPayload(f"`{path}`: {problem}" if path else problem, **({"field": path} if path else {}))


def read_kind(value: Any, kind: Kind | None = None, namespace: str | None = None, name: str | None = None) -> Written:
    """The kind that a document describes; what a path says of it need not be said again.

    Raises:
        InvalidPayload: a field is missing, unknown or wrong; `field` names it.
    """
    if not isinstance(value, dict):
        raise refused("", f"expected a kind, an object with kind, metadata and spec, got {json_type(value)}")
    value = _completed(value, kind, namespace, name)
    resource = _checked(value, Resource, "")
    for part in ("name", "namespace"):
        if not NAME.fullmatch(getattr(resource.metadata, part)):
            raise refused(f"metadata.{part}", f"expected {NAME_RULE}")
    spec = without_nulls(resource.spec, SPECS[resource.kind])
    made = _checked(spec, SPECS[resource.kind], "spec")
    _CHECKS.get(resource.kind, _nothing_more)(made)
    metadata = without_nulls(value["metadata"], attrs.fields(Resource).metadata.type)
    named = {"name": resource.metadata.name, "namespace": resource.metadata.namespace}
    body = {"metadata": {**named, **metadata}, "spec": spec}
    return Written(resource.kind, resource.metadata.namespace, resource.metadata.name, body)


def _completed(value: dict[str, Any], kind: Kind | None, namespace: str | None, name: str | None) -> dict[str, Any]:
    """The document with what the path says, where it doesn't say another thing itself."""
    metadata = value.get("metadata")
    completed = {**value, "kind": _same("kind", value.get("kind"), kind)}
    if isinstance(metadata, dict) or (metadata is None and name is not None):
        metadata = metadata or {}
        parts = {"namespace": namespace, "name": name}
        said = {key: _same(f"metadata.{key}", metadata.get(key), part) for key, part in parts.items()}
        completed["metadata"] = {**metadata, **{key: part for key, part in said.items() if part is not None}}
    return {key: each for key, each in completed.items() if each is not None}


def _same(path: str, said: Any, wanted: str | None) -> Any:
    if wanted is None or said is None:
        return said if wanted is None else str(wanted)
    if said != wanted:
        raise refused(path, f"expected {str(wanted)!r}, as the path says, or nothing")
    return said


def _checked(value: Any, cls: type[Any], path: str) -> Any:
    for inner, name, known in unknown_fields(value, cls, path):
        shown = clean(name)[:_SHOWN]
        at = f"`{inner}`: " if inner else ""
        raise InvalidPayload(f"{at}there is no field {shown!r}" + nearest(name, known), field=inner)
    try:
        return convert(value, cls)
    except CodecError as error:
        whole = ".".join(part for part in (path, error.path) if part)
        raise refused(whole, error.sentence.removeprefix(f"`{error.path}`: ")) from error


def _nothing_more(_spec: Any) -> None:
    return


def _check_team(spec: TeamSpec) -> None:
    if spec.collaborationModel not in COLLABORATION:
        known = ", ".join(COLLABORATION)
        raise refused("spec.collaborationModel", f"no plugin of this server provides that; expected {known}")


def _check_shell(spec: Any) -> None:
    if spec.executor is not None and not NAME.fullmatch(spec.executor):
        raise refused("spec.executor", f"expected the name of an executor: {NAME_RULE}")


def _check_model(spec: Any) -> None:
    """Fields that are known are as a model takes them; the others are the endpoint's business."""
    config = dict(spec.modelConfig)
    key = config.get("api_key")
    if isinstance(key, dict):
        if not is_reference(key):
            wants = f"expected a text, or {{env: NAME}} with a name that begins with {SECRET_VARIABLE}"
            raise refused("spec.modelConfig.api_key", wants)
        config["api_key"] = HIDDEN
    if "base_url" not in config:
        config.setdefault("model_id", UNNAMED)
    known = {name: value for name, value in config.items() if name in _MODEL_FIELDS}
    made = _checked(without_nulls(known, ModelConfig), ModelConfig, "spec.modelConfig")
    if made.base_url not in (None, HIDDEN) and not made.base_url.startswith(("http://", "https://")):
        raise refused("spec.modelConfig.base_url", "expected an address that begins with http:// or https://")


_MODEL_FIELDS: Final = frozenset(each.name for each in attrs.fields(ModelConfig))
_CHECKS: Final = {Kind.TEAM: _check_team, Kind.SHELL: _check_shell, Kind.MODEL: _check_model}


def references(kind: records.Kind) -> Iterator[tuple[str, Kind, Ref]]:
    """Which kinds a stored one refers to, each with the path of the field; one that is malformed refers to none."""
    try:
        spec = convert(kind.body.get("spec", {}), SPECS[Kind(kind.kind)])
    except (CodecError, ValueError):
        return
    match spec:
        case BotSpec():
            yield "spec.ghostRef", Kind.GHOST, spec.ghostRef
            yield "spec.shellRef", Kind.SHELL, spec.shellRef
            if spec.modelRef is not None:
                yield "spec.modelRef", Kind.MODEL, spec.modelRef
        case TeamSpec():
            for index, member in enumerate(spec.members):
                yield f"spec.members[{index}].botRef", Kind.BOT, member.botRef
        case TaskSpec():
            yield "spec.teamRef", Kind.TEAM, spec.teamRef
            if spec.workspaceRef is not None:
                yield "spec.workspaceRef", Kind.WORKSPACE, spec.workspaceRef


REFERRERS: Final[Mapping[Kind, Kind]] = {
    Kind.GHOST: Kind.BOT,
    Kind.SHELL: Kind.BOT,
    Kind.MODEL: Kind.BOT,
    Kind.BOT: Kind.TEAM,
    Kind.TEAM: Kind.TASK,
    Kind.WORKSPACE: Kind.TASK,
}
"""By which kind one may be referred to."""
