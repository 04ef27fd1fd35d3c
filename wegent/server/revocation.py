"""Closes the connections of tokens that were revoked and of users who are no longer active (protocol §2)."""

from __future__ import annotations

import logging
from datetime import timedelta

import trio

from wegent.core.clock import Clock
from wegent.core.closing import REVOKED
from wegent.core.errors import Overloaded
from wegent.core.sessions import Session, Sessions
from wegent.protocol.auth import AuthError
from wegent.protocol.codes import AuthCode
from wegent.server.auth import TokenAuth
from wegent.server.ports.store import Store

log = logging.getLogger(__name__)
EVERY = 2.0
"""Seconds between two looks at the store; whoever revokes elsewhere is heard of within this time."""
OVERLAP = timedelta(seconds=30)
"""How far back each look goes: clocks of two processes, and commits that take their time."""


class Revocation:
    """Looks for what was revoked, by whomever and wherever, and hears at once of what REST revoked here."""

    def __init__(self, store: Store, clock: Clock, sessions: Sessions, auth: TokenAuth) -> None:
        self._store = store
        self._clock = clock
        self._sessions = sessions
        self._auth = auth

    async def run(self) -> None:
        """Look until cancelled."""
        since = self._clock.now() - OVERLAP
        while True:
            await trio.sleep(EVERY)
            if not len(self._sessions):
                continue
            try:
                started, looked = self._clock.now(), since
                tokens, users = await self._store.read(lambda unit, looked=looked: unit.shut_out(looked))  # type: ignore[misc]
            except Overloaded as error:
                log.warning("revoked tokens can't be looked for: %s", error.sentence)
                continue
            since = started - OVERLAP
            self._close(frozenset(tokens), frozenset(users))

    def revoked(self, jti: str, user_id: int) -> None:
        """A token was revoked, and that is committed."""
        self._auth.forget_token(jti)
        for session in self._sessions.of_user(user_id):
            if session.principal.token_id == jti:
                _end(session)

    def shut_out(self, user_id: int) -> None:
        """A user is not active any more, and that is committed."""
        self._auth.forget(user_id)
        for session in self._sessions.of_user(user_id):
            _end(session)

    def _close(self, tokens: frozenset[str], users: frozenset[int]) -> None:
        for jti in tokens:
            self._auth.forget_token(jti)
        for user_id in users:
            self.shut_out(user_id)
        if tokens:
            for session in self._sessions.all():
                if session.principal.token_id in tokens:
                    _end(session)


def _end(session: Session) -> None:
    session.emit("auth:error", AuthError(error="Token revoked", code=AuthCode.INVALID_TOKEN))
    session.disconnect(REVOKED)
