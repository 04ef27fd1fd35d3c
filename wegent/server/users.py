"""The people of a server: made, changed and shut out, by admins and by themselves (protocol §10)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, NotAuthenticated, NotFound
from wegent.core.model import Principal
from wegent.protocol.auth import ConnectRefusal, Scope
from wegent.server.auth import TokenAuth
from wegent.server.conditions import Condition
from wegent.server.ports.store import Store, Unit
from wegent.server.records import User

ADMIN = "admin"
_LINE = "users:"
"""A line to stand in that no executor has, for no executor's name has a colon."""
_BATCH = 500


@frozen(kw_only=True)
class Changes:
    """What becomes of a user; what is None stays. An empty avatar takes it away."""

    role: str | None = None
    active: bool | None = None
    avatar: str | None = None
    password: str | None = None


@frozen
class Changed:
    """A user as they are now; `revoked` are the ids of the tokens that ended with the change."""

    user: User
    revoked: tuple[str, ...] = ()


class Users:
    """Everything that is done to users. Names and passwords that can't be raise `InvalidPayload`."""

    def __init__(self, store: Store, auth: TokenAuth, clock: Clock) -> None:
        self._store = store
        self._auth = auth
        self._clock = clock

    async def page(self, who: Principal, *, after_id: int, limit: int) -> list[User]:
        """Everybody, by id; for admins."""

        def read(unit: Unit) -> list[User]:
            need_admin(unit, who)
            return unit.users(after_id=after_id, limit=limit)

        return await self._store.read(read)

    async def get(self, who: Principal, user_id: int) -> User:
        """One of them; for admins.

        Raises:
            NotFound: there is no such user.
        """
        return await self._store.read(lambda unit: _found(unit, who, user_id))

    async def me(self, who: Principal) -> User:
        """The principal."""
        return await self._store.read(lambda unit: known_user(unit, who))

    async def make(self, who: Principal, user_name: str, password: str, role: str) -> User:
        """A new user; for admins.

        Raises:
            Conflict: the name is taken.
        """
        await self._store.read(lambda unit: need_admin(unit, who))
        hashed = await self._hashed(user_name, password)

        def work(unit: Unit) -> User:
            need_admin(unit, who)
            return unit.add_user(user_name, password_hash=hashed, role=role)

        return await self._store.write(work)

    async def register(self, user_name: str, password: str) -> User:
        """A new user who has asked for it; raises as `make`."""
        hashed = await self._hashed(user_name, password)
        return await self._store.write(lambda unit: unit.add_user(user_name, password_hash=hashed))

    async def change(self, who: Principal, user_id: int, changes: Changes, condition: Condition[User]) -> Changed:
        """Change anybody; for admins. With a new password all tokens of scope `user` end, but for the caller's own.

        Raises:
            NotFound: there is no such user.
            Conflict: it is the last active admin, who is to remain one.
        """
        await self._store.read(lambda unit: _found(unit, who, user_id))
        hashed = None if changes.password is None else await self._auth.passwords.hash(changes.password)

        def work(unit: Unit) -> Changed:
            unit.take_turns(_LINE, 1)
            user = _found(unit, who, user_id)
            condition(user)
            if _loses_admin(user, changes) and not _other_admin(unit, user_id):
                message = f"{user.user_name} is the last active admin; make another one first"
                raise Conflict(message)
            return self._changed(unit, who, user, changes, hashed)

        return self._told(await self._store.write(work))

    async def change_me(
        self, who: Principal, changes: Changes, old_password: str | None, condition: Condition[User]
    ) -> Changed:
        """Change oneself: avatar and password, the latter by the old one. All other tokens of scope `user` end with it.

        Raises:
            InvalidPayload: there is no old password to a new one.
            AccessDenied: the old password is wrong.
            RateLimited: too many wrong ones.
        """
        hashed = None
        if changes.password is not None:
            await self._prove(who, old_password)
            hashed = await self._auth.passwords.hash(changes.password)

        def work(unit: Unit) -> Changed:
            unit.take_turns(_LINE, 1)
            user = known_user(unit, who)
            condition(user)
            return self._changed(unit, who, user, changes, hashed)

        return self._told(await self._store.write(work))

    async def _prove(self, who: Principal, password: str | None) -> None:
        if password is None:
            message = "`old_password`: a new password needs the old one"
            raise InvalidPayload(message)
        user = await self.me(who)
        if not await self._auth.knows(user.user_name, user.password_hash, password):
            message = "`old_password` is not your password"
            raise AccessDenied(message)

    async def _hashed(self, user_name: str, password: str) -> str:
        check_name(user_name)
        return await self._auth.passwords.hash(password)

    def _changed(self, unit: Unit, who: Principal, user: User, changes: Changes, hashed: str | None) -> Changed:
        fields = _fields(changes)
        if hashed is not None:
            fields["password_hash"] = hashed
        revoked = () if hashed is None else end_logins(unit, user, self._clock.now(), but=who.token_id)
        return Changed(unit.update_user(user.id, **fields) if fields else user, revoked)

    def _told(self, changed: Changed) -> Changed:
        self._auth.forget(changed.user.id)
        return changed


def check_name(name: str) -> None:
    """Raise `InvalidPayload` for what can be nobody's name."""
    if not name.strip() or name != name.strip() or len(name) > 255 or not name.isprintable():
        message = "A user name is 1 to 255 printable characters, without blanks around it"
        raise InvalidPayload(message)


def end_logins(unit: Unit, user: User, at: datetime, *, but: str = "") -> tuple[str, ...]:
    """Revoke the user's tokens of scope `user`, but for one: their password is another now. The ids of the tokens."""
    tokens = unit.tokens(user.id, scope=Scope.USER)
    ended = tuple(token.jti for token in tokens if token.revoked_at is None and token.jti != but)
    for jti in ended:
        unit.revoke_token(jti, at)
    return ended


def known_user(unit: Unit, who: Principal) -> User:
    """The user of a principal.

    Raises:
        NotAuthenticated: there is no such user any more.
    """
    user = unit.user(who.user_id)
    if user is None:
        raise NotAuthenticated(ConnectRefusal.INVALID.value)
    return user


def need_admin(unit: Unit, who: Principal) -> User:
    """The principal, if they are an admin.

    Raises:
        AccessDenied: they are not.
    """
    user = known_user(unit, who)
    if user.role != ADMIN:
        message = "only an admin may do that"
        raise AccessDenied(message)
    return user


def _found(unit: Unit, who: Principal, user_id: int) -> User:
    need_admin(unit, who)
    user = unit.user(user_id)
    if user is None:
        message = f"there is no user {user_id}"
        raise NotFound(message)
    return user


def _fields(changes: Changes) -> dict[str, Any]:
    found: dict[str, Any] = {"role": changes.role, "active": changes.active}
    if changes.avatar is not None:
        found["avatar"] = changes.avatar or None
    return {name: value for name, value in found.items() if value is not None or name == "avatar"}


def _loses_admin(user: User, changes: Changes) -> bool:
    stays = changes.role in (None, ADMIN) and changes.active is not False
    return user.role == ADMIN and user.active and not stays


def _other_admin(unit: Unit, user_id: int) -> bool:
    after = 0
    while page := unit.users(after_id=after, limit=_BATCH):
        if any(each.role == ADMIN and each.active and each.id != user_id for each in page):
            return True
        after = page[-1].id
    return False
