"""Tokens over REST: one's own; an admin sees and revokes everybody's (protocol §10)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from attrs import field, frozen
from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import InvalidPayload, NotFound
from wegent.core.model import Principal
from wegent.protocol.fields import SHORT, Each, Text, Whole
from wegent.protocol.limits import MAX_DEVICE_ID
from wegent.protocol.shape import to_wire
from wegent.protocol.tasks import Success
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, principal, protect, read_body, reply
from wegent.server.api.describing import Items, describes, flag, paged
from wegent.server.api.revoking import Revoked
from wegent.server.auth import TokenAuth
from wegent.server.owners import check_targets
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Token
from wegent.server.users import ADMIN, known_user, need_admin

PAGE = 100
MAX_PAGE = 500
LIFETIME = timedelta(days=30)
LONGEST = timedelta(days=3660)


@frozen(kw_only=True)
class NewToken:
    """`POST /tokens`; `expires_in` in seconds. `device_id` belongs to scope device, `targets` to executor."""

    name: str = field(default="", validator=SHORT)
    scope: Literal["user", "device", "executor"] = "user"
    expires_in: int = field(default=int(LIFETIME.total_seconds()), validator=Whole(60, int(LONGEST.total_seconds())))
    device_id: str | None = field(default=None, validator=Text(1, MAX_DEVICE_ID))
    targets: tuple[str, ...] | None = field(default=None, validator=Each(Text(1, 255), 100))


@frozen(kw_only=True)
class TokenItem:
    """An issued token, without the token itself; `current`: the one that this call was made with."""

    id: str
    user_id: int
    scope: str
    name: str
    claims: dict[str, Any]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    current: bool = False


@frozen(kw_only=True)
class NewTokenItem(TokenItem):
    """A token that was just made: shown this once."""

    token: str


def tokens_blueprint(store: Store, auth: TokenAuth, revoked: Revoked) -> Blueprint:
    """`GET|POST /tokens`, `DELETE /tokens/{id}`."""
    blueprint = Blueprint("tokens", __name__, url_prefix=f"{PREFIX}/tokens")
    protect(blueprint, auth)

    @blueprint.get("")
    @describes(
        "Tokens, newest first",
        answers=Items(TokenItem),
        query=(*paged(MAX_PAGE), flag("all", "everybody's, for admins")),
    )
    async def list_tokens() -> TrioResponse:
        everybodys, who = query.flag("all"), principal()

        def read(unit: Unit) -> list[Token]:
            if everybodys:
                need_admin(unit, who)
            return unit.tokens(None if everybodys else who.user_id)

        return reply(_page(await store.read(read), who.token_id))

    @blueprint.post("")
    @describes("Make a token", takes=NewToken, answers={201: NewTokenItem})
    async def new_token() -> TrioResponse:
        asked, who = await read_body(NewToken), principal()
        claims = _claims(asked)
        needed = need_admin if asked.scope == "executor" else known_user
        user = await store.read(lambda unit: needed(unit, who))
        lifetime = timedelta(seconds=asked.expires_in)
        token, record = await auth.issue(user, asked.scope, lifetime, name=asked.name, **claims)
        return reply({"token": token, **to_wire(token_item(record))}, 201)

    @blueprint.delete("/<token_id>")
    @describes("Revoke a token")
    async def revoke(token_id: str) -> TrioResponse:
        who = principal()
        found = await store.read(lambda unit: _revocable(unit, who, token_id))
        record = await auth.revoke(found.jti)
        revoked.revoked(record.jti, record.user_id)
        return reply(Success())

    return blueprint


def token_item(token: Token, current: str = "") -> TokenItem:
    """What is told of a token; `current` is the id of the caller's own."""
    return TokenItem(
        id=token.jti,
        user_id=token.user_id,
        scope=token.scope,
        name=token.name,
        claims=dict(token.claims),
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        current=token.jti == current,
    )


def _page(tokens: list[Token], current: str) -> dict[str, Any]:
    """The tokens after the cursor's, newest first."""
    limit = query.number("limit", PAGE, most=MAX_PAGE)
    place = query.cursor(tuple[str])
    start = 0
    if place is not None:
        known = [token.jti for token in tokens]
        if place[0] not in known:
            raise query.bad_cursor()
        start = known.index(place[0]) + 1
    page = tokens[start : start + limit]
    answer: dict[str, Any] = {"items": [token_item(token, current) for token in page]}
    if len(tokens) > start + limit:
        answer["next_cursor"] = query.next_cursor(page[-1].jti)
    return answer


def _claims(asked: NewToken) -> dict[str, Any]:
    if (asked.device_id is not None) != (asked.scope == "device"):
        message = "`device_id` goes with the scope device, which needs it"
        raise InvalidPayload(message)
    if bool(asked.targets) != (asked.scope == "executor"):
        message = "`targets` go with the scope executor, which needs at least one"
        raise InvalidPayload(message)
    if asked.device_id is not None:
        return {"device_id": asked.device_id}
    return {"targets": check_targets(asked.targets)} if asked.targets else {}


def _revocable(unit: Unit, who: Principal, jti: str) -> Token:
    """The token, if it is the user's, or the user an admin; of others' tokens nobody learns that there are any."""
    token = unit.token(jti)
    if token is None or (token.user_id != who.user_id and known_user(unit, who).role != ADMIN):
        message = "you have no such token"
        raise NotFound(message)
    return token
