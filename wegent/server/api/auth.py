"""Logging in (protocol §10)."""

from __future__ import annotations

from datetime import datetime

from attrs import field, frozen
from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.protocol.fields import NAME, TEXT
from wegent.server.api.calls import PREFIX, read_body, reply
from wegent.server.api.describing import describes
from wegent.server.api.users import UserItem, user_item
from wegent.server.auth import TokenAuth


@frozen(kw_only=True)
class Login:
    """`POST /auth/login`."""

    user_name: str = field(validator=NAME)
    password: str = field(validator=TEXT)


@frozen(kw_only=True)
class LoggedIn:
    """Its answer; `access_token` is of scope `user`, good until `expires_at`."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme
    expires_at: datetime | None
    user: UserItem


def auth_blueprint(auth: TokenAuth) -> Blueprint:
    """`POST /auth/login`."""
    blueprint = Blueprint("auth", __name__, url_prefix=f"{PREFIX}/auth")

    @blueprint.post("/login")
    @describes("Log in", takes=Login, answers=LoggedIn)
    async def login() -> TrioResponse:
        asked = await read_body(Login)
        token, record, user = await auth.login(asked.user_name, asked.password)
        return reply(LoggedIn(access_token=token, expires_at=record.expires_at, user=user_item(user)))

    return blueprint
