"""Logging in, and registering where that is allowed (protocol §10)."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen
from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import AccessDenied
from wegent.protocol.fields import NAME, TEXT
from wegent.server.api.calls import PREFIX, read_body, reply
from wegent.server.api.describing import describes
from wegent.server.api.limiting import count_address
from wegent.server.api.users import UserItem, user_item
from wegent.server.auth import TokenAuth
from wegent.server.records import Token, User
from wegent.server.users import Users


@frozen(kw_only=True)
class Login:
    """`POST /auth/login`, `POST /auth/register`."""

    user_name: str = field(validator=NAME)
    password: str = field(validator=TEXT)


@frozen(kw_only=True)
class LoggedIn:
    """Its answer; `access_token` is of scope `user`, good until `expires_at`."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme
    expires_at: datetime | None
    user: UserItem


def auth_blueprint(auth: TokenAuth, users: Users, *, register: bool) -> Blueprint:
    """`POST /auth/login`, `POST /auth/register`; the latter for everybody with `register`, else for nobody."""
    blueprint = Blueprint("auth", __name__, url_prefix=f"{PREFIX}/auth")
    blueprint.before_request(_count)

    @blueprint.post("/login")
    @describes("Log in", takes=Login, answers=LoggedIn)
    async def login() -> TrioResponse:
        asked = await read_body(Login)
        return _logged_in(*await auth.login(asked.user_name, asked.password), status=200)

    @blueprint.post("/register")
    @describes("Become a user, and log in", takes=Login, answers={201: LoggedIn})
    async def register_user() -> TrioResponse:
        if not register:
            message = "this server makes no users by themselves; ask its admin for one"
            raise AccessDenied(message)
        asked = await read_body(Login)
        await users.register(asked.user_name, asked.password)
        return _logged_in(*await auth.login(asked.user_name, asked.password), status=201)

    return blueprint


async def _count() -> None:
    if request.method != "OPTIONS":
        count_address()


def _logged_in(token: str, record: Token, user: User, *, status: int) -> TrioResponse:
    return reply(LoggedIn(access_token=token, expires_at=record.expires_at, user=user_item(user)), status)
