"""Who one is (protocol §10)."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen
from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import NotAuthenticated
from wegent.core.ports.auth import Auth
from wegent.protocol.auth import ConnectRefusal
from wegent.server.api.calls import PREFIX, principal, protect, reply
from wegent.server.api.describing import describes
from wegent.server.ports.store import Store, Unit
from wegent.server.records import User


@frozen(kw_only=True)
class UserItem:
    """A user as they are told of."""

    id: int
    user_name: str
    role: str
    avatar: str | None = None
    created_at: datetime


def user_item(user: User) -> UserItem:
    """The user without what is nobody's business."""
    return UserItem(
        id=user.id, user_name=user.user_name, role=user.role, avatar=user.avatar, created_at=user.created_at
    )


def known_user(unit: Unit, user_id: int) -> User:
    """The user of a principal.

    Raises:
        NotAuthenticated: there is no such user any more.
    """
    user = unit.user(user_id)
    if user is None:
        raise NotAuthenticated(ConnectRefusal.INVALID.value)
    return user


def users_blueprint(store: Store, auth: Auth) -> Blueprint:
    """`GET /users/me`."""
    blueprint = Blueprint("users", __name__, url_prefix=f"{PREFIX}/users")
    protect(blueprint, auth)

    @blueprint.get("/me")
    @describes("Who one is", answers=UserItem)
    async def me() -> TrioResponse:
        user_id = principal().user_id
        return reply(user_item(await store.read(lambda unit: known_user(unit, user_id))))

    return blueprint
