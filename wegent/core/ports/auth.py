"""Who a token speaks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from wegent.core.model import Principal


class Auth(ABC):
    """Checks tokens. It issues none here: how one comes by a token is the application's affair."""

    __slots__ = ()

    @abstractmethod
    async def authenticate(self, token: str | None, scopes: Collection[str]) -> Principal:
        """The principal of a token that is good now, for one of `scopes`.

        What is read of the store to answer may be a few seconds old, no more. The deadline `expires_at` is the caller's
        to keep from then on.

        Raises:
            NotAuthenticated: "Missing authentication token", or "Invalid or expired token" whatever is wrong with it.
            TokenExpired: it was good until its `exp`.
            AccessDenied: it is good, but its scope is another, or its user is not active.
            StoreAway: nobody can tell now.
        """
