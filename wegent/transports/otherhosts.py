"""Workers of other hosts: where a session's requests go that arrive at the wrong host."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from wegent.core.errors import BrokerAway, ConfigError
from wegent.core.ports.presence import Presence

Connect = Callable[[], Awaitable[trio.SocketStream]]
FORWARDED = b"x-wegent-forwarded"
"""The header of a request that was passed on already; it is passed on no further."""
TTL, RENEW = 30.0, 10.0
"""Seconds that a worker's address is known without being renewed, and between two renewals."""
_ADDRESS = re.compile(r"http://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]@]+):(?P<port>[0-9]{1,5})/?")


class OtherHosts:
    """Tells the registry where this worker's host is reached, and finds the hosts of others there."""

    def __init__(self, presence: Presence, own: str, advertise: str) -> None:
        """`own` is this worker's name, `advertise` its host's address as other hosts reach it, `http://HOST:PORT`.

        Raises:
            ConfigError: it is no such address.
        """
        parse_address(advertise)
        self._presence = presence
        self._own = own
        self._advertise = advertise

    async def run(self) -> None:
        """Stay known, until cancelled; then be known no more."""
        key = _key(self._own)
        try:
            while True:
                try:
                    await self._presence.set(key, self._advertise, ttl=TTL)
                except BrokerAway:
                    await trio.sleep(RENEW / 10)
                else:
                    await trio.sleep(RENEW)
        finally:
            with trio.move_on_after(1, shield=True):
                try:
                    await self._presence.discard(key, self._advertise)
                except BrokerAway:
                    await trio.lowlevel.checkpoint()

    async def way(self, sid: str | None) -> Connect | None:
        """How the host is reached where the session of that id began; None where the registry does not know."""
        name = owner_of(sid)
        if name is None or name == self._own:
            await trio.lowlevel.checkpoint()
            return None
        try:
            found = await self._presence.get(_key(name))
        except BrokerAway:
            return None
        return None if found is None else partial(trio.open_tcp_stream, *parse_address(found))


def owner_of(sid: str | None) -> str | None:
    """The worker at which a session began, by its id; None if that is no id of ours."""
    name, dot, _ = (sid or "").partition(".")
    return name if dot and len(name) <= 255 and name.replace("-", "").isalnum() else None


def unknown_session(sid: str | None, own: str) -> str:
    """Why a session is refused, and what would be right where it may have begun at another host."""
    name = owner_of(sid)
    if name is None or name == own:
        return "Session ID unknown"
    return (
        "Session ID unknown: its worker is not on this host; send all requests of a session to one host, or set"
        " front-door.advertise on every host"
    )


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `http://HOST:PORT`.

    Raises:
        ConfigError: it is something else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65_536:
        message = f"front-door.advertise is this host's address as others reach it, http://HOST:PORT, not {text!r}"
        raise ConfigError(message)
    return match["host"].strip("[]"), int(match["port"])


def _key(name: str) -> str:
    return f"worker:{name}"
