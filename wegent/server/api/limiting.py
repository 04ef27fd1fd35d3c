"""How often one user may call, and one address log in: token buckets, in memory that is bounded."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Hashable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import cast

import trio
from attrs import frozen
from quart import Quart, current_app, request

from wegent.core.errors import RateLimited
from wegent.core.instruments import Counter
from wegent.core.model import Principal
from wegent.protocol.auth import Scope

SIZE = 10_000
"""Keys that a worker remembers of a kind; past that it forgets those that have not called for longest."""
_LIMITS = "wegent_limits"
REFUSED = ("wegent_rate_limited", "Calls that were refused because there were too many")
_COUNTED = frozenset({Scope.USER, Scope.RUN})
"""Devices and executor hosts report as often as there is something to report."""


class Buckets:
    """A bucket for each key, full at first.

    What is kept of one is the time at which it will be full again: a full one is not kept at all.
    `rate` is how many come back a second, 0 for no limit; `burst` how many it holds.
    """

    __slots__ = ("_burst", "_full_at", "_rate", "_refused", "_size")

    def __init__(self, rate: float, burst: int, refused: Counter, *, size: int = SIZE) -> None:
        self._rate = rate
        self._burst = burst
        self._refused = refused
        self._size = size
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Hashable) -> None:
        """Take one from the key's bucket.

        Raises:
            RateLimited: it is empty; `retry_after` seconds.
        """
        if not self._rate:
            return
        now, each = trio.current_time(), 1 / self._rate
        full_at = max(self._full_at.pop(key, now), now)
        wait = full_at - now - each * (self._burst - 1)
        empty = wait > 1e-9  # as good as now: sums of floats
        self._full_at[key] = full_at if empty else full_at + each
        self._forget(now)
        if empty:
            self._refused.add()
            message = "Too many calls, try again later"
            raise RateLimited(message, retry_after=math.ceil(wait))

    def _forget(self, now: float) -> None:
        """Those at the front that are full, two at most, so faster than new ones come; else one too many."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._size:
                return
            del self._full_at[oldest]


@frozen
class Limits:
    """What is counted: calls by user, logins and registrations by address.

    `proxies`: addresses that say by `X-Forwarded-For` for whom they call.
    """

    users: Buckets
    addresses: Buckets
    proxies: Collection[str] = ()

    def register(self, app: Quart) -> None:
        """Count the calls of an application."""
        app.extensions[_LIMITS] = self


def count_user(who: Principal) -> None:
    """A call of this principal; raises `RateLimited`."""
    limits = _limits()
    if limits is not None and who.scope in _COUNTED:
        limits.users.take(who.user_id)


def count_address() -> None:
    """A call of somebody who is not known yet, by the address that it comes from; raises `RateLimited`."""
    if (limits := _limits()) is not None:
        limits.addresses.take(network_of(_caller(limits.proxies)))


def network_of(address: str) -> str:
    """Who counts as one: an address, of IPv6 the network of 64 bits that a site has."""
    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or ip_network((found, 64), strict=False).network_address
    return str(found)


def _caller(proxies: Collection[str]) -> str:
    """The last address on the way here that is none of the proxies."""
    way = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
    address = request.remote_addr or ""
    while address in proxies and way:
        address = way.pop() or address
    return address


def _limits() -> Limits | None:
    return cast("Limits | None", current_app.extensions.get(_LIMITS))
