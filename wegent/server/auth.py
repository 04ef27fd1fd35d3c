"""Who may come in: checks tokens against users and revocations, issues them, and logs people in (protocol §2)."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import trio
from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import AccessDenied, NotAuthenticated, RateLimited
from wegent.core.model import Principal
from wegent.core.ports.auth import Auth
from wegent.protocol.auth import ConnectRefusal, Scope
from wegent.protocol.jobs import Job
from wegent.protocol.status import Status
from wegent.server.passwords import Passwords, is_text
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Token, User
from wegent.server.tokens import Claims, Signer

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

LOGIN_LIFETIME = timedelta(days=7)
RUN_LIFETIME = timedelta(days=30)
CACHE_TTL_S = 2.0
CACHE_SIZE = 10_000
FAILURES = 10
FAILURE_WINDOW_S = 60.0


class TokenAuth(Auth):
    """The server's `Auth`: JWTs of one signer, users and tokens of one store.

    What the store said of a user or a token is remembered for `ttl` seconds, for at most `CACHE_SIZE` of each;
    `forget` and `forget_token` end that at once. A token that the store doesn't know is good only if its scope is
    `run`: those are made for one job, not kept, and good while it runs.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        clock: Clock,
        passwords: Passwords | None = None,
        *,
        ttl: float = CACHE_TTL_S,
        login_lifetime: timedelta = LOGIN_LIFETIME,
    ) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock
        self.passwords = passwords or Passwords()
        self._users: _Remembered[int, _Known] = _Remembered(ttl)
        self._tokens: _Remembered[str, _Known] = _Remembered(ttl)
        self._reading: dict[tuple[int, str], trio.Event] = {}
        self._failures = _Failures()
        self._login_lifetime = login_lifetime

    async def authenticate(self, token: str | None, scopes: Collection[str]) -> Principal:
        """See `Auth.authenticate`."""
        claims = self._signer.read(token, self._clock.time())
        if claims.scope not in scopes:
            message = f"This needs a token of scope {' or '.join(sorted(scopes))}, not {claims.scope}"
            raise AccessDenied(message)
        user, kept = await self._known(claims.user_id, claims.jti)
        if not kept.good and (kept.exists or claims.scope != Scope.RUN):
            raise NotAuthenticated(ConnectRefusal.INVALID.value)
        if not user.exists or user.name != claims.user_name:
            raise NotAuthenticated(ConnectRefusal.INVALID.value)
        if not user.good:
            raise AccessDenied(ConnectRefusal.INACTIVE.value)
        if claims.scope == Scope.RUN:
            await self._see_that_it_runs(claims)
        return Principal(
            user_id=claims.user_id,
            user_name=user.name,
            scope=claims.scope,
            token_id=claims.jti,
            expires_at=float(claims.expires_at),
            claims=claims.extra,
        )

    def mint(self, user: User, scope: str, lifetime: timedelta, *, name: str = "", **claims: Any) -> tuple[str, Token]:
        """A token and the record that belongs to it, which is not kept yet; `claims` go into the token as they are."""
        made = self._claims(user.id, user.user_name, scope, lifetime, claims)
        record = Token(
            jti=made.jti,
            user_id=user.id,
            scope=made.scope,
            name=name,
            claims=claims,
            created_at=datetime.fromtimestamp(int(made.issued_at), UTC),
            expires_at=datetime.fromtimestamp(made.expires_at, UTC),
        )
        return self._signer.sign(made), record

    async def issue(
        self, user: User, scope: str, lifetime: timedelta, *, name: str = "", **claims: Any
    ) -> tuple[str, Token]:
        """The same, kept in the store, so that it can be listed and revoked."""
        token, record = self.mint(user, scope, lifetime, name=name, **claims)
        await self._store.write(lambda unit: unit.add_token(record))
        return token, record

    def run_token(self, job: Job) -> str:
        """A token of scope `run` for a job: good while that attempt runs, for as long as `RUN_LIFETIME` at most."""
        extra = {"task_id": job.task_id, "subtask_id": job.subtask_id, "attempt": job.attempt}
        return self._signer.sign(self._claims(job.user.id, job.user.name, Scope.RUN, RUN_LIFETIME, extra))

    def _claims(
        self, user_id: int, user_name: str, scope: str, lifetime: timedelta, extra: Mapping[str, Any]
    ) -> Claims:
        now = self._clock.time()
        return Claims(
            user_name=user_name,
            user_id=user_id,
            jti=secrets.token_hex(16),
            scope=Scope(scope).value,
            issued_at=now,
            expires_at=int(now + lifetime.total_seconds()),
            extra=extra,
        )

    async def _see_that_it_runs(self, claims: Claims) -> None:
        subtask_id = claims.extra.get("subtask_id")
        row = await self._store.read(lambda unit: unit.subtask(subtask_id)) if isinstance(subtask_id, int) else None
        if row is None or row.deleted or row.attempt != claims.extra.get("attempt") or not Status(row.status).active:
            raise NotAuthenticated(ConnectRefusal.INVALID.value)

    async def login(
        self, user_name: str, password: str, *, lifetime: timedelta | None = None
    ) -> tuple[str, Token, User]:
        """A token of scope `user` for who knows the password. An unknown name takes as long as a wrong password.

        Raises:
            NotAuthenticated: name or password is wrong; which, is not said.
            AccessDenied: they are right, but the user is not active.
            RateLimited: too many wrong ones for this name; `retry_after` seconds.
            Overloaded: too many log in at once.
        """
        self._failures.check(user_name)
        user = None
        if is_text(user_name):
            user = await self._store.read(lambda unit: unit.user_named(user_name))
        kept = user.password_hash if user else None
        if not await self.knows(user_name, kept, password) or user is None or kept is None:
            message = "Wrong user name or password"
            raise NotAuthenticated(message)
        if not user.active:
            raise AccessDenied(ConnectRefusal.INACTIVE.value)
        if self.passwords.is_old(kept):
            fresh = await self.passwords.hash(password)
            await self._store.write(lambda unit: unit.update_user(user.id, password_hash=fresh))
        token, record = await self.issue(user, Scope.USER.value, lifetime or self._login_lifetime, name="login")
        return token, record, user

    async def knows(self, user_name: str, kept: str | None, password: str) -> bool:
        """Whether the password is the one whose hash was kept for the name; wrong ones are counted.

        Raises:
            RateLimited, Overloaded: as `login`.
        """
        self._failures.check(user_name)
        good = await self.passwords.verify(kept, password)
        (self._failures.clear if good else self._failures.add)(user_name)
        return good

    async def revoke(self, jti: str) -> Token:
        """End a token for good.

        Raises:
            NotFound: no such token.
        """
        at = self._clock.now()
        record = await self._store.write(lambda unit: unit.revoke_token(jti, at))
        self.forget_token(jti)
        return record

    def forget(self, user_id: int) -> None:
        """Read this user anew at the next question: something about them was changed."""
        self._users.forget(user_id)

    def forget_token(self, jti: str) -> None:
        """Read this token anew at the next question."""
        self._tokens.forget(jti)

    async def _known(self, user_id: int, jti: str) -> tuple[_Known, _Known]:
        """What the store says of the two; who asks for the same meanwhile waits for the one answer."""
        key = (user_id, jti)
        while True:
            user, token = self._users.get(user_id), self._tokens.get(jti)
            if user is not None and token is not None:
                return user, token
            if (running := self._reading.get(key)) is None:
                return await self._read(key)
            await running.wait()

    async def _read(self, key: tuple[int, str]) -> tuple[_Known, _Known]:
        user_id, jti = key
        answered = self._reading[key] = trio.Event()
        users, tokens = self._users.round, self._tokens.round
        try:
            user, token = await self._store.read(lambda unit: _look(unit, user_id, jti))
        finally:
            del self._reading[key]
            answered.set()
        self._users.put(user_id, user, users)
        self._tokens.put(jti, token, tokens)
        return user, token


@frozen
class _Known:
    """What the store said: a user that is there and active, or a token that is there and not revoked."""

    exists: bool
    good: bool
    name: str = ""


def _look(unit: Unit, user_id: int, jti: str) -> tuple[_Known, _Known]:
    user, token = unit.user(user_id), unit.token(jti)
    standing = token is not None and token.user_id == user_id and token.revoked_at is None
    return (
        _Known(user is not None, user is not None and user.active, user.user_name if user else ""),
        _Known(token is not None, standing),
    )


class _Remembered(Generic[K, V]):
    """Answers for a short while, the oldest dropped first past the limit.

    `round` grows with every `forget`: an answer read before one is not kept after it.
    """

    __slots__ = ("_kept", "_ttl", "round")

    def __init__(self, ttl: float) -> None:
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._ttl = ttl
        self.round = 0

    def get(self, key: K) -> V | None:
        found = self._kept.get(key)
        return found[1] if found is not None and trio.current_time() < found[0] else None

    def put(self, key: K, value: V, asked_in: int) -> None:
        if asked_in != self.round:
            return
        self._kept.pop(key, None)
        self._kept[key] = (trio.current_time() + self._ttl, value)
        if len(self._kept) > CACHE_SIZE:
            self._kept.popitem(last=False)

    def forget(self, key: K) -> None:
        self.round += 1
        self._kept.pop(key, None)


class _Failures:
    """Wrong passwords by name within the last window; a table that is full forgets the oldest."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, name: str) -> None:
        until, count = self._counts.get(name[:255], (0.0, 0))
        left = until - trio.current_time()
        if count >= FAILURES and left > 0:
            message = "Too many wrong passwords for this user, try again later"
            raise RateLimited(message, retry_after=int(left) + 1)

    def add(self, name: str) -> None:
        name = name[:255]
        until, count = self._counts.pop(name, (0.0, 0))
        now = trio.current_time()
        self._counts[name] = (until, count + 1) if until > now else (now + FAILURE_WINDOW_S, 1)
        if len(self._counts) > CACHE_SIZE:
            self._counts.popitem(last=False)

    def clear(self, name: str) -> None:
        self._counts.pop(name[:255], None)
