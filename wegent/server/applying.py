"""Writing kinds: whose they are, whether all fits together, and what may go (protocol §10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final

from attrs import field, frozen

from wegent.codec import canonical
from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, NotFound
from wegent.core.model import Principal
from wegent.protocol.kinds import Kind
from wegent.server import records
from wegent.server.kind_secrets import keep
from wegent.server.kinds import REFERRERS, Written, label, read_kind, references, refused
from wegent.server.ports.store import Unit
from wegent.server.teams import resolve

MAX_OWN: Final = 1_000
"""Kinds that a user may have."""
_LINE: Final = "kinds:"
"""A line to stand in that no executor has, for no executor's name has a colon."""
_NAMED: Final = 5
"""Referrers that an error names."""
_BATCH: Final = 100

Condition = Callable[[records.Kind | None], None]
"""Raises where what is there is not what the writer believes."""


class Scope(StrEnum):
    """Whose kinds a call is about."""

    OWN = "own"
    PUBLIC = "public"


@frozen
class Applied:
    """What became of the documents, each list in their order."""

    created: list[records.Kind] = field(factory=list)
    changed: list[records.Kind] = field(factory=list)
    unchanged: list[records.Kind] = field(factory=list)


def owner_of(unit: Unit, who: Principal, scope: Scope) -> int | None:
    """The owner of what the principal writes: they themselves, or nobody for public kinds.

    Raises:
        AccessDenied: public kinds are for admins.
    """
    if scope is Scope.OWN:
        return who.user_id
    user = unit.user(who.user_id)
    if user is None or user.role != "admin":
        message = "only an admin may write public kinds; without scope=public they become your own"
        raise AccessDenied(message)
    return None


def read_kinds(documents: Sequence[Any]) -> list[Written]:
    """The kinds that the documents describe.

    Raises:
        InvalidPayload: there is none, one is wrong, or two are of the same name; `document` counts from 1.
    """
    if not documents:
        message = "expected at least one document, got none"
        raise InvalidPayload(message)
    written: list[Written] = []
    seen: dict[tuple[str, str, str], int] = {}
    for number, document in enumerate(documents, 1):
        with _told_of(number):
            each = read_kind(document)
        first = seen.setdefault((each.kind, each.namespace, each.name), number)
        with _told_of(number, each):
            if first != number:
                raise refused("metadata.name", f"document {first} has this name already")
        written.append(each)
    return written


def apply(unit: Unit, owner: int | None, written: Sequence[Written]) -> Applied:
    """Make all of it so, whatever its order; the caller's transaction undoes it all where this raises.

    Raises:
        InvalidPayload: a reference leads nowhere, or there is no secret to keep; `document` counts from 1.
        Conflict: the owner would have too many kinds.
    """
    unit.take_turns(_LINE, 1)
    applied = Applied()
    rows = []
    for number, each in enumerate(written, 1):
        with _told_of(number, each):
            rows.append(_put(unit, owner, each, applied))
    for number, (each, row) in enumerate(zip(written, rows, strict=True), 1):
        with _told_of(number, each):
            _check_references(unit, row)
    return applied


def summary(applied: Applied) -> dict[str, list[dict[str, Any]]]:
    """What is told of it."""
    told = {"created": applied.created, "changed": applied.changed, "unchanged": applied.unchanged}
    return {
        word: [{"id": row.id, "kind": row.kind, "namespace": row.namespace, "name": row.name} for row in rows]
        for word, rows in told.items()
    }


def put(unit: Unit, owner: int | None, written: Written, condition: Condition) -> tuple[records.Kind, bool]:
    """Make or replace one; whether it was made. Raises as `apply`, and what `condition` raises."""
    unit.take_turns(_LINE, 1)
    condition(unit.kind_named(written.kind.value, written.namespace, written.name, user_id=owner))
    applied = Applied()
    row = _put(unit, owner, written, applied)
    _check_references(unit, row)
    return row, bool(applied.created)


def delete(unit: Unit, owner: int | None, kind: Kind, namespace: str, name: str, condition: Condition) -> None:
    """Remove one.

    Raises:
        NotFound: there is none of that name.
        Conflict: others refer to it.
    """
    unit.take_turns(_LINE, 1)
    row = unit.kind_named(kind.value, namespace, name, user_id=owner)
    if row is None:
        whose = "public" if owner is None else "of yours"
        message = f"there is no such {kind.path} {whose}"
        raise NotFound(message)
    condition(row)
    _check_unused(unit, row)
    unit.delete_kind(row.id)


def _put(unit: Unit, owner: int | None, written: Written, applied: Applied) -> records.Kind:
    named = (written.kind.value, written.namespace, written.name)
    old = unit.kind_named(*named, user_id=owner)
    body = keep(written.body, old.body if old is not None else None)
    _check_key(body, written.kind, owner)
    if old is not None and canonical(body) == canonical(old.body):
        applied.unchanged.append(old)
        return old
    row = unit.put_kind(*named, user_id=owner, body=body)
    if old is None:
        _check_count(unit, owner)
    (applied.created if old is None else applied.changed).append(row)
    return row


def _check_key(body: dict[str, Any], kind: Kind, owner: int | None) -> None:
    config = body["spec"].get("modelConfig") if kind is Kind.MODEL and owner is not None else None
    if config and isinstance(config.get("api_key"), dict):
        raise refused("spec.modelConfig.api_key", "only public models take a key from the server's environment")


def _check_count(unit: Unit, owner: int | None) -> None:
    if owner is not None and unit.count_kinds(owner) > MAX_OWN:
        message = f"a user may have {MAX_OWN} kinds; delete some first"
        raise Conflict(message)


def _check_references(unit: Unit, row: records.Kind) -> None:
    for path, kind, ref in references(row):
        if resolve(unit, row, kind.value, ref) is None:
            whose = "public" if row.user_id is None else "yours or public"
            where = label(kind, ref.namespace or row.namespace, ref.name)
            raise refused(path, f"there is no {where} that is {whose}")


def _check_unused(unit: Unit, row: records.Kind) -> None:
    named, users = [], 0
    for each in _referrers(unit, row):
        if each.user_id == row.user_id:
            named.append(label(each.kind, each.namespace, each.name))
        else:
            users += 1
    if not named and not users:
        return
    told = named[:_NAMED] + ([f"{len(named) - _NAMED} more"] if len(named) > _NAMED else [])
    told += [f"{users} of users"] if users else []
    message = f"{label(row.kind, row.namespace, row.name)} is referred to by {', '.join(told)}; change these first"
    raise Conflict(message)


def _referrers(unit: Unit, row: records.Kind) -> Iterator[records.Kind]:
    """Its owner's kinds that refer to it; of a public one, everybody's."""
    kind = REFERRERS.get(Kind(row.kind))
    after = 0
    while kind is not None and (page := unit.kinds(kind.value, user_id=row.user_id, after_id=after, limit=_BATCH)):
        for each in page:
            if any(_leads_to(unit, each, wanted, ref, row) for _, wanted, ref in references(each)):
                yield each
        after = page[-1].id


def _leads_to(unit: Unit, holder: records.Kind, kind: Kind, ref: Any, row: records.Kind) -> bool:
    if (kind, ref.namespace or holder.namespace, ref.name) != (row.kind, row.namespace, row.name):
        return False
    found = resolve(unit, holder, kind.value, ref)
    return found is not None and found.id == row.id


@contextmanager
def _told_of(number: int, written: Written | None = None) -> Iterator[None]:
    """What is refused within names the document."""
    try:
        yield
    except InvalidPayload as error:
        which = f" ({written.label})" if written is not None else ""
        details = {**error.details, "document": number}
        raise InvalidPayload(f"document {number}{which}: {error.sentence}", **details) from error
