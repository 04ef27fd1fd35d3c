"""Kinds over REST: read as far as one may see them, written as far as they are one's own (protocol §10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen
from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.codec import canonical
from wegent.core.errors import Conflict, NotFound
from wegent.core.model import Principal
from wegent.core.ports.auth import Auth
from wegent.protocol.fields import text_fault
from wegent.protocol.kinds import API_VERSION, Kind, Metadata
from wegent.protocol.tasks import Success
from wegent.server import records
from wegent.server.api import conditions, query
from wegent.server.api.bodies import Documents, only
from wegent.server.api.calls import PREFIX, principal, protect, reply
from wegent.server.api.describing import IF_MATCH, IF_NONE_MATCH, Items, Media, describes, paged, word
from wegent.server.applying import Condition, Scope, apply, delete, owner_of, put, read_kinds, summary
from wegent.server.kind_secrets import hide
from wegent.server.kinds import Written, read_kind
from wegent.server.ports.store import Store, Unit
from wegent.server.teams import may_use

YAML = Media("application/yaml", {"type": "string"})
PAGE = 100
MAX_PAGE = 500
MAX_PAGE_BYTES = 1_000_000
"""What the kinds of a page may take together, but for the last; past that it ends early, with a cursor."""
SCANNED = 5_000
"""Rows that one call looks at; past that a page ends early, with a cursor."""
_BATCH = 100
_PATHS = {kind.path: kind for kind in Kind}


def kinds_blueprint(store: Store, auth: Auth) -> Blueprint:
    """`/kinds` and all below it."""
    blueprint = Blueprint("kinds", __name__, url_prefix=f"{PREFIX}/kinds")
    protect(blueprint, auth)
    documents = Documents()

    async def answer(shown: Shown, status: int = 200, **headers: str) -> TrioResponse:
        return await documents.reply(shown.item, [shown.item], status, ETag=conditions.etag(shown.version), **headers)

    @blueprint.get("/<kind>")
    @describes(
        "Kinds that one may see", answers={200: (Items(KindItem), YAML)}, query=(word("scope", Scope), *paged(MAX_PAGE))
    )
    async def list_kinds(kind: str) -> TrioResponse:
        who, asked, scope = principal(), _kind(kind), query.word("scope", Scope)
        limit = query.number("limit", PAGE, most=MAX_PAGE)
        place = query.cursor(tuple[int])
        after = place[0] if place else 0
        items, last = await store.read(lambda unit: _page(unit, who, asked, scope, after, limit))
        if last is None:
            return await documents.reply({"items": items}, items)
        cursor = query.next_cursor(last)
        return await documents.reply({"items": items, "next_cursor": cursor}, items, Next_Cursor=cursor)

    @blueprint.post("/<kind>")
    @describes("Make a kind", takes=(KindBody, YAML), answers={201: (KindItem, YAML)}, query=(word("scope", Scope),))
    async def new_kind(kind: str) -> TrioResponse:
        who, asked, scope = principal(), _kind(kind), _scope()
        written = await documents.read(lambda found: read_kind(only(found), asked))
        shown, _ = await store.write(lambda unit: _put(unit, who, scope, written, _not_there(written)))
        return await answer(shown, 201, Location=f"{PREFIX}/kinds/{kind}/{written.namespace}/{written.name}")

    @blueprint.post("/apply")
    @describes(
        "Make or change kinds, all or none", takes=(KindBody, YAML), answers=AppliedKinds, query=(word("scope", Scope),)
    )
    async def apply_kinds() -> TrioResponse:
        who, scope = principal(), _scope()
        written = await documents.read(read_kinds)
        applied = await store.write(lambda unit: apply(unit, owner_of(unit, who, scope), written))
        return reply(summary(applied))

    @blueprint.get("/<kind>/<namespace>/<name>")
    @describes("A kind", answers={200: (KindItem, YAML)}, query=(word("scope", Scope),))
    async def one_kind(kind: str, namespace: str, name: str) -> TrioResponse:
        who, asked, scope = principal(), _kind(kind), query.word("scope", Scope)
        return await answer(
            await store.read(lambda unit: _show(named_kind(unit, who, asked, scope, namespace, name), who))
        )

    @blueprint.put("/<kind>/<namespace>/<name>")
    @describes(
        "Make or replace a kind",
        takes=(KindBody, YAML),
        answers={200: (KindItem, YAML), 201: (KindItem, YAML)},
        query=(word("scope", Scope), IF_MATCH, IF_NONE_MATCH),
    )
    async def put_kind(kind: str, namespace: str, name: str) -> TrioResponse:
        who, asked, scope, condition = principal(), _kind(kind), _scope(), _condition()
        written = await documents.read(lambda found: read_kind(only(found), asked, namespace, name))
        shown, made = await store.write(lambda unit: _put(unit, who, scope, written, condition))
        return await answer(shown, 201 if made else 200)

    @blueprint.delete("/<kind>/<namespace>/<name>")
    @describes("Delete a kind", query=(word("scope", Scope), IF_MATCH))
    async def delete_kind(kind: str, namespace: str, name: str) -> TrioResponse:
        who, asked, scope, condition = principal(), _kind(kind), _scope(), _condition()
        if text_fault(namespace + name) is not None:
            raise _no_such(asked)
        await store.write(lambda unit: delete(unit, owner_of(unit, who, scope), asked, namespace, name, condition))
        return reply(Success())

    return blueprint


@frozen(kw_only=True)
class KindItem:
    """A kind as it is read; secrets in it are hidden."""

    id: int
    apiVersion: str  # noqa: N815 - the names are those of the protocol
    kind: Kind
    metadata: Metadata
    spec: dict[str, Any]
    status: dict[str, Any] | None = None


@frozen(kw_only=True)
class KindBody:
    """A kind as it is written; `apiVersion` and `kind` may be left out where the path names the kind."""

    apiVersion: str | None = None  # noqa: N815
    kind: Kind | None = None
    metadata: Metadata
    spec: dict[str, Any]
    status: dict[str, Any] | None = None


@frozen(kw_only=True)
class AppliedKind:
    """A kind that was written, by its name."""

    id: int
    kind: Kind
    namespace: str
    name: str


@frozen(kw_only=True)
class AppliedKinds:
    """What an apply has done."""

    created: tuple[AppliedKind, ...]
    changed: tuple[AppliedKind, ...]
    unchanged: tuple[AppliedKind, ...]


@frozen
class Shown:
    """A kind as somebody is shown it; `version` changes whenever the row does."""

    item: dict[str, Any]
    version: str


def _show(row: records.Kind, who: Principal) -> Shown:
    return Shown(kind_item(row, who), version_of(row))


def _put(unit: Unit, who: Principal, scope: Scope, written: Written, condition: Condition) -> tuple[Shown, bool]:
    row, made = put(unit, owner_of(unit, who, scope), written, condition)
    return _show(row, who), made


def kind_item(kind: records.Kind, who: Principal) -> dict[str, Any]:
    """A kind as it is read, its secrets hidden. Whom else a team is open to is its owner's business."""
    body = hide(kind.body)
    spec = body.get("spec", {})
    if kind.user_id not in (None, who.user_id):
        spec = {key: value for key, value in spec.items() if key != "users"}
    item = {
        "id": kind.id,
        "apiVersion": API_VERSION,
        "kind": kind.kind,
        "metadata": {**body.get("metadata", {}), "name": kind.name, "namespace": kind.namespace},
        "spec": spec,
    }
    return {**item, "status": body["status"]} if body.get("status") else item


def version_of(row: records.Kind) -> str:
    """Of a row; made of nothing that is secret."""
    return conditions.version_of(row.id, row.updated_at, hide(row.body))


def _kind(path: str) -> Kind:
    found = _PATHS.get(path)
    if found is None:
        message = "there is no such kind: a path names one of " + ", ".join(_PATHS)
        raise NotFound(message)
    return found


def _scope() -> Scope:
    return query.word("scope", Scope) or Scope.OWN


def _condition() -> Condition:
    check = conditions.condition()
    return lambda row: check(None if row is None else version_of(row))


def _not_there(written: Written) -> Condition:
    def check(row: records.Kind | None) -> None:
        if row is not None:
            message = f"{written.label} is there already; PUT changes it"
            raise Conflict(message)

    return check


def may_see_kind(kind: records.Kind, who: Principal, scope: Scope | None = None) -> bool:
    """Their own, public ones, teams that are open to them; or those of one scope."""
    if scope is not None:
        return kind.user_id == (who.user_id if scope is Scope.OWN else None)
    return kind.user_id in (None, who.user_id) or (kind.kind == Kind.TEAM and may_use(kind, who))


def _page(
    unit: Unit, who: Principal, kind: Kind, scope: Scope | None, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """The items of a page, and the id to go on from, None at the end."""
    found: list[dict[str, Any]] = []
    size = 0
    for scanned, row in enumerate(_walk(unit, kind, after), 1):
        if len(found) == limit or scanned > SCANNED or size > MAX_PAGE_BYTES:
            return found, after
        after = row.id
        if may_see_kind(row, who, scope):
            found.append(kind_item(row, who))
            size += len(canonical(row.body))
    return found, None


def _walk(unit: Unit, kind: Kind, after: int) -> Iterator[records.Kind]:
    while rows := unit.kinds(kind.value, after_id=after, limit=_BATCH):
        yield from rows
        if len(rows) < _BATCH:
            return
        after = rows[-1].id


def named_kind(unit: Unit, who: Principal, kind: Kind, scope: Scope | None, namespace: str, name: str) -> records.Kind:
    """The caller's own of that name, else one that is shared with them, else the public one; or of one scope.

    Raises:
        NotFound: there is none of these.
    """
    found = None
    if text_fault(namespace + name) is None:
        if scope is not Scope.PUBLIC:
            found = unit.kind_named(kind.value, namespace, name, user_id=who.user_id)
        if found is None and scope is None:
            found = _shared(unit, who, kind, namespace, name)
        if found is None and scope is not Scope.OWN:
            found = unit.kind_named(kind.value, namespace, name, user_id=None)
    if found is None:
        raise _no_such(kind)
    return found


def _no_such(kind: Kind) -> NotFound:
    return NotFound(f"there is no such {kind.path}, or it is not open to you")


def _shared(unit: Unit, who: Principal, kind: Kind, namespace: str, name: str) -> records.Kind | None:
    if kind is not Kind.TEAM:
        return None
    for scanned, row in enumerate(_walk(unit, kind, 0)):
        if scanned == SCANNED:
            break
        if row.user_id is not None and (row.namespace, row.name) == (namespace, name) and may_use(row, who):
            return row
    return None
