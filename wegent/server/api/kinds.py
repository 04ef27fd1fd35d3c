"""Kinds over REST, as far as the caller may see them: their own, public ones, and teams open to them (protocol §10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import NotFound
from wegent.core.model import Principal
from wegent.core.ports.auth import Auth
from wegent.protocol.fields import text_fault
from wegent.protocol.kinds import API_VERSION, Kind
from wegent.server import records
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, principal, protect, reply
from wegent.server.ports.store import Store, Unit
from wegent.server.teams import may_use

PAGE = 100
MAX_PAGE = 500
SCANNED = 5_000
"""Rows that one call looks at; past that a page ends early, with a cursor."""
_BATCH = 500
_PATHS = {kind.path: kind for kind in Kind}
_SECRET = re.compile(r"key|token|secret|password|passwd|authorization|credential|cookie", re.IGNORECASE)
_SETTINGS = ("env", "headers")
"""Names of objects each value of which may be a secret."""
_WITH_PASSWORD = re.compile(r"://[^/@\s]+@")
_HIDDEN = "…"


def kinds_blueprint(store: Store, auth: Auth) -> Blueprint:
    """`GET /kinds/{kind}` and `GET /kinds/{kind}/{namespace}/{name}`."""
    blueprint = Blueprint("kinds", __name__, url_prefix=f"{PREFIX}/kinds")
    protect(blueprint, auth)

    @blueprint.get("/<kind>")
    async def list_kinds(kind: str) -> TrioResponse:
        who, asked = principal(), _kind(kind)
        limit = query.number("limit", PAGE, most=MAX_PAGE)
        place = query.cursor(tuple[int])
        after = place[0] if place else 0
        found, last = await store.read(lambda unit: _page(unit, who, asked, after, limit))
        answer: dict[str, Any] = {"items": [kind_item(each, who) for each in found]}
        if last is not None:
            answer["next_cursor"] = query.next_cursor(last)
        return reply(answer)

    @blueprint.get("/<kind>/<namespace>/<name>")
    async def one_kind(kind: str, namespace: str, name: str) -> TrioResponse:
        who, asked = principal(), _kind(kind)
        found = await store.read(lambda unit: _named(unit, who, asked, namespace, name))
        return reply(kind_item(found, who))

    return blueprint


def kind_item(kind: records.Kind, who: Principal) -> dict[str, Any]:
    """A kind as it is read. What looks like a secret is hidden from all but its owner."""
    body = kind.body if kind.user_id == who.user_id else _without_secrets(kind.body)
    item = {
        "id": kind.id,
        "apiVersion": API_VERSION,
        "kind": kind.kind,
        "metadata": {**body.get("metadata", {}), "name": kind.name, "namespace": kind.namespace},
        "spec": body.get("spec", {}),
    }
    return {**item, "status": body["status"]} if body.get("status") else item


def _kind(path: str) -> Kind:
    found = _PATHS.get(path)
    if found is None:
        message = "there is no such kind: a path names one of " + ", ".join(_PATHS)
        raise NotFound(message)
    return found


def may_see_kind(kind: records.Kind, who: Principal) -> bool:
    """Their own, public ones, teams that are open to them."""
    return kind.user_id in (None, who.user_id) or (kind.kind == Kind.TEAM and may_use(kind, who))


def _page(unit: Unit, who: Principal, kind: Kind, after: int, limit: int) -> tuple[list[records.Kind], int | None]:
    """Those of a page, and the id to go on from, None at the end."""
    found: list[records.Kind] = []
    for scanned, row in enumerate(_walk(unit, kind, after), 1):
        if len(found) == limit or scanned > SCANNED:
            return found, after
        after = row.id
        if may_see_kind(row, who):
            found.append(row)
    return found, None


def _walk(unit: Unit, kind: Kind, after: int) -> Iterator[records.Kind]:
    while rows := unit.kinds(kind.value, after_id=after, limit=_BATCH):
        yield from rows
        if len(rows) < _BATCH:
            return
        after = rows[-1].id


def _named(unit: Unit, who: Principal, kind: Kind, namespace: str, name: str) -> records.Kind:
    """The caller's own of that name, else one that is shared with them, else the public one."""
    if text_fault(namespace + name) is None:
        own = unit.kind_named(kind.value, namespace, name, user_id=who.user_id)
        found = own or _shared(unit, who, kind, namespace, name)
        found = found or unit.kind_named(kind.value, namespace, name, user_id=None)
        if found is not None:
            return found
    message = f"there is no such {kind.path}, or it is not open to you"
    raise NotFound(message)


def _shared(unit: Unit, who: Principal, kind: Kind, namespace: str, name: str) -> records.Kind | None:
    if kind is not Kind.TEAM:
        return None
    for scanned, row in enumerate(_walk(unit, kind, 0)):
        if scanned == SCANNED:
            break
        if row.user_id is not None and (row.namespace, row.name) == (namespace, name) and may_use(row, who):
            return row
    return None


def _without_secrets(value: Any, *, hide: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _without_secrets(item, hide=hide or key in _SETTINGS or bool(_SECRET.search(key)))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(item, hide=hide) for item in value]
    if isinstance(value, str) and value and (hide or _WITH_PASSWORD.search(value)):
        return _HIDDEN
    return value
