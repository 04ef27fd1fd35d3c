"""Pings, and a connection given up that does not answer them."""

from __future__ import annotations

from collections.abc import Callable

from wegent.core.timers import Timer, Timers


class Heartbeat:
    """Calls `ping` every `interval` seconds, and `dead` if `pong` was not called within `timeout` seconds of one."""

    __slots__ = ("_answered", "_dead", "_interval", "_ping", "_timeout", "_timer", "_timers")

    def __init__(
        self, timers: Timers, interval: float, timeout: float, ping: Callable[[], None], dead: Callable[[], None]
    ) -> None:
        self._timers = timers
        self._interval = interval
        self._timeout = timeout
        self._ping = ping
        self._dead = dead
        self._answered = True
        self._timer: Timer | None = timers.after(interval, self._send)

    def pong(self) -> None:
        """The peer answered."""
        self._answered = True

    def stop(self) -> None:
        """No more of either."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self._answered = False
        self._timer = self._timers.after(self._timeout, self._check)
        self._ping()

    def _check(self) -> None:
        if self._answered:
            self._timer = self._timers.after(max(0.0, self._interval - self._timeout), self._send)
        else:
            self._timer = None
            self._dead()
