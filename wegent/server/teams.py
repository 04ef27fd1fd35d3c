"""Teams, and what stands behind them: which bot answers, in which shell, with which model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import field, frozen

from wegent.codec import CodecError, convert
from wegent.core.errors import AccessDenied, Conflict, NotFound
from wegent.core.model import Principal
from wegent.protocol.kinds import BotSpec, GhostSpec, ModelSpec, Ref, ShellSpec, TeamSpec
from wegent.server.kind_secrets import resolved_key
from wegent.server.ports.store import Unit
from wegent.server.records import Kind

T = TypeVar("T")
CHAT_SHELL = "chat_shell"


@frozen
class TeamSetup:
    """A team as a message finds it. `executor` is the one that its shell names, `names` what it is mentioned by.

    `model` and `mcp_servers` hold secrets of their owners (None: public ones).
    """

    id: int
    name: str
    namespace: str
    title: str
    names: tuple[str, ...]
    bot_name: str
    shell_type: str
    executor: str | None
    image: str | None
    resources: Mapping[str, Any] | None
    on_lost: str
    system_prompt: str
    model: Mapping[str, Any] = field(repr=False)
    model_owner: int | None
    mcp_servers: Mapping[str, Any] = field(repr=False)
    ghost_owner: int | None
    skills: tuple[str, ...]

    def mentioned_in(self, message: str) -> bool:
        """Whether the message calls the team by `@name` (protocol §3, mention)."""
        text = message.casefold()
        return any(re.search(rf"(?<!\w)@{re.escape(name.casefold())}(?![\w-])", text) for name in self.names)


def team_of(unit: Unit, principal: Principal, team_id: int) -> Kind:
    """The team, if the principal may talk to it: its owner, everybody if public, the users listed.

    Raises:
        NotFound: there is no such team.
        AccessDenied: it is not open to the principal.
    """
    kind = unit.kind(team_id)
    if kind is None or kind.kind != "Team":
        message = f"there is no team {team_id}"
        raise NotFound(message)
    if not may_use(kind, principal):
        message = f"team {team_id} is not open to you"
        raise AccessDenied(message)
    return kind


def may_use(kind: Kind, principal: Principal) -> bool:
    """Whether the principal may talk to the team."""
    spec = kind.body.get("spec", {})
    listed = principal.user_name in (spec.get("users") or ())
    return kind.user_id is None or kind.user_id == principal.user_id or bool(spec.get("public")) or listed


def setup_of(unit: Unit, team: Kind, *, model: str | None = None, asked_by: int | None = None) -> TeamSetup:
    """What stands behind the team; `model` names another Model kind than the bot's: one of the bot's owner, if it is
    they who ask for it, else a public one. To be let in to a team opens none of its owner's other kinds.

    Raises:
        NotFound, Conflict: a kind that is referred to is missing, or is not what it should be.
    """
    spec = _spec(team, TeamSpec)
    bot_kind = _referred(unit, team, "Bot", spec.members[0].botRef)
    bot = _spec(bot_kind, BotSpec)
    ghost_kind = _referred(unit, bot_kind, "Ghost", bot.ghostRef)
    ghost = _spec(ghost_kind, GhostSpec)
    shell = _spec(_referred(unit, bot_kind, "Shell", bot.shellRef), ShellSpec)
    found: Kind | None = None
    if model:
        found = _override(unit, bot_kind, model, asked_by)
    elif bot.modelRef:
        found = _referred(unit, bot_kind, "Model", bot.modelRef)
    metadata = team.body.get("metadata", {})
    title = metadata.get("displayName") or team.name
    prompts = [text for text in (ghost.systemPrompt, spec.members[0].prompt) if text]
    return TeamSetup(
        id=team.id,
        name=team.name,
        namespace=team.namespace,
        title=title,
        names=tuple({team.name, title}),
        bot_name=bot_kind.name,
        shell_type=shell.shellType,
        executor=shell.executor,
        image=shell.image,
        resources=shell.resources,
        on_lost=spec.onLost or shell.onLost or "fail",
        system_prompt="\n\n".join(prompts),
        model=_model_config(found) if found else {},
        model_owner=found.user_id if found else None,
        mcp_servers=ghost.mcpServers,
        ghost_owner=ghost_kind.user_id,
        skills=ghost.skills,
    )


def _override(unit: Unit, bot: Kind, name: str, asked_by: int | None) -> Kind:
    for owner in dict.fromkeys((bot.user_id if bot.user_id == asked_by else None, None)):
        found = unit.kind_named("Model", bot.namespace, name, user_id=owner)
        if found is not None:
            return found
    message = f"there is no Model {name!r} that you may use with this team"
    raise NotFound(message)


def model_named(unit: Unit, principal: Principal, name: str) -> dict[str, Any]:
    """The `modelConfig` of one's own Model of that name, else of the public one.

    Raises:
        NotFound: there is none.
        Conflict: it is not as it should be.
    """
    for user_id in (principal.user_id, None):
        kind = unit.kind_named("Model", "default", name, user_id=user_id)
        if kind is not None:
            return _model_config(kind)
    message = f"there is no Model {name!r}"
    raise NotFound(message)


def _model_config(kind: Kind) -> dict[str, Any]:
    spec = _spec(kind, ModelSpec)
    config = resolved_key(kind.name, spec.modelConfig, public=kind.user_id is None)
    if spec.maxOutputTokens is not None:
        config.setdefault("max_output_tokens", spec.maxOutputTokens)
    return config


def resolve(unit: Unit, holder: Kind, kind: str, ref: Ref) -> Kind | None:
    """What a kind refers to: one of its owner's own, else a public one."""
    for owner in dict.fromkeys((holder.user_id, None)):
        found = unit.kind_named(kind, ref.namespace or holder.namespace, ref.name, user_id=owner)
        if found is not None:
            return found
    return None


def _referred(unit: Unit, holder: Kind, kind: str, ref: Ref) -> Kind:
    found = resolve(unit, holder, kind, ref)
    if found is None:
        message = f"{holder.kind} {holder.name!r} refers to {kind} {ref.name!r}, which does not exist"
        raise NotFound(message)
    return found


def _spec(kind: Kind, cls: type[T]) -> T:
    try:
        return convert(kind.body.get("spec", {}), cls)
    except CodecError as error:
        message = f"{kind.kind} {kind.name!r} is not well-formed: {error.sentence}"
        raise Conflict(message) from error


DEFAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Ghost", "assistant", {"systemPrompt": "You are a helpful assistant. Answer in Markdown."}),
    ("Shell", "chat", {"shellType": "Chat"}),
    ("Bot", "assistant", {"ghostRef": {"name": "assistant"}, "shellRef": {"name": "chat"}}),
    ("Team", "assistant", {"members": [{"botRef": {"name": "assistant"}}], "public": True}),
)
TITLES = {("Team", "assistant"): "Assistant"}


def add_defaults(unit: Unit) -> None:
    """Make the public kinds that a first chat needs, where they are not there; what is there stays as it is."""
    for kind, name, spec in DEFAULTS:
        if unit.kind_named(kind, "default", name, user_id=None) is None:
            metadata = {"name": name, "namespace": "default"}
            if title := TITLES.get((kind, name)):
                metadata["displayName"] = title
            unit.put_kind(kind, "default", name, user_id=None, body={"metadata": metadata, "spec": spec})
