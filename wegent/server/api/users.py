"""Who one is, and for admins, who else there is (protocol §10)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen
from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol.fields import NAME, TEXT, Text
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, path_id, principal, protect, read_body, reply
from wegent.server.api.conditions import condition_on, etag, version_of
from wegent.server.api.describing import IF_MATCH, Items, describes, paged
from wegent.server.api.revoking import Revoked
from wegent.server.records import User
from wegent.server.users import Changed, Changes, Users

PAGE = 100
MAX_PAGE = 500
AVATAR = Text(0, 2_000)


@frozen(kw_only=True)
class UserItem:
    """A user as they are told of."""

    id: int
    user_name: str
    role: str
    avatar: str | None = None
    created_at: datetime


@frozen(kw_only=True)
class UserAccount(UserItem):
    """A user as admins see them; who is not `active` can't log in."""

    active: bool


@frozen(kw_only=True)
class NewUser:
    """`POST /users`."""

    user_name: str = field(validator=NAME)
    password: str = field(validator=TEXT)
    role: Literal["user", "admin"] = "user"


@frozen(kw_only=True)
class ChangeUser:
    """`PUT /users/{id}`; what is left out stays as it is, an empty `avatar` takes it away."""

    role: Literal["user", "admin"] | None = None
    active: bool | None = None
    avatar: str | None = field(default=None, validator=AVATAR)
    password: str | None = field(default=None, validator=TEXT)


@frozen(kw_only=True)
class ChangeMe:
    """`PUT /users/me`; what is left out stays as it is. A new `password` needs the old one."""

    avatar: str | None = field(default=None, validator=AVATAR)
    password: str | None = field(default=None, validator=TEXT)
    old_password: str | None = field(default=None, validator=TEXT)


def user_item(user: User) -> UserItem:
    """The user without what is nobody's business."""
    return UserItem(
        id=user.id, user_name=user.user_name, role=user.role, avatar=user.avatar, created_at=user.created_at
    )


def user_account(user: User) -> UserAccount:
    """The same, for admins."""
    return UserAccount(
        id=user.id,
        user_name=user.user_name,
        role=user.role,
        avatar=user.avatar,
        active=user.active,
        created_at=user.created_at,
    )


def user_version(user: User) -> str:
    """Of what may be changed of a user, but for the password."""
    return version_of(user.id, user.role, user.active, user.avatar)


def users_blueprint(users: Users, auth: Auth, revoked: Revoked) -> Blueprint:
    """`/users` and all below it."""
    blueprint = Blueprint("users", __name__, url_prefix=f"{PREFIX}/users")
    protect(blueprint, auth)

    def told(changed: Changed) -> User:
        for jti in changed.revoked:
            revoked.revoked(jti, changed.user.id)
        if not changed.user.active:
            revoked.shut_out(changed.user.id)
        return changed.user

    @blueprint.get("/me")
    @describes("Who one is", answers=UserItem)
    async def me() -> TrioResponse:
        user = await users.me(principal())
        return reply(user_item(user), ETag=etag(user_version(user)))

    @blueprint.put("/me")
    @describes("Change one's avatar or password", takes=ChangeMe, answers=UserItem, query=(IF_MATCH,))
    async def change_me() -> TrioResponse:
        asked = await read_body(ChangeMe)
        changes = Changes(avatar=asked.avatar, password=asked.password)
        user = told(await users.change_me(principal(), changes, asked.old_password, condition_on(user_version)))
        return reply(user_item(user), ETag=etag(user_version(user)))

    @blueprint.get("")
    @describes("Everybody, by id; for admins", answers=Items(UserAccount), query=paged(MAX_PAGE))
    async def list_users() -> TrioResponse:
        limit, place = query.number("limit", PAGE, most=MAX_PAGE), query.cursor(tuple[int])
        rows = await users.page(principal(), after_id=0 if place is None else place[0], limit=limit + 1)
        answer: dict[str, Any] = {"items": [user_account(row) for row in rows[:limit]]}
        if len(rows) > limit:
            answer["next_cursor"] = query.next_cursor(rows[limit - 1].id)
        return reply(answer)

    @blueprint.post("")
    @describes("Make a user; for admins", takes=NewUser, answers={201: UserAccount})
    async def make() -> TrioResponse:
        asked = await read_body(NewUser)
        user = await users.make(principal(), asked.user_name, asked.password, asked.role)
        return reply(user_account(user), 201, Location=f"{PREFIX}/users/{user.id}", ETag=etag(user_version(user)))

    @blueprint.get("/<user_id>")
    @describes("A user; for admins", answers=UserAccount)
    async def one(user_id: str) -> TrioResponse:
        user = await users.get(principal(), path_id(user_id, "user"))
        return reply(user_account(user), ETag=etag(user_version(user)))

    @blueprint.put("/<user_id>")
    @describes("Change a user; for admins", takes=ChangeUser, answers=UserAccount, query=(IF_MATCH,))
    async def change(user_id: str) -> TrioResponse:
        asked = path_id(user_id, "user")
        body = await read_body(ChangeUser)
        changes = Changes(role=body.role, active=body.active, avatar=body.avatar, password=body.password)
        user = told(await users.change(principal(), asked, changes, condition_on(user_version)))
        return reply(user_account(user), ETag=etag(user_version(user)))

    return blueprint
