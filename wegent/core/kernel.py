"""Puts a deployment together: checks the plugin graph, starts plugins in order, drains, stops them in reverse."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from wegent.core.clock import Clock, SystemClock
from wegent.core.errors import ConfigError, WegentError
from wegent.core.failure import leaves
from wegent.core.health import Health
from wegent.core.instruments import Registry
from wegent.core.outbox import OutboxLimits
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.rooms import Rooms
from wegent.core.sessions import SessionLimits, Sessions
from wegent.core.timers import Timers

log = logging.getLogger(__name__)


@frozen
class KernelConfig:
    """Seconds; `high` and `hard` are the outbox's watermarks in bytes (see `OutboxLimits`)."""

    drain_timeout: float = 10.0
    stop_timeout: float = 5.0
    high: int = OutboxLimits().high
    hard: int = OutboxLimits().hard
    lanes: int = SessionLimits().lanes
    waiting: int = SessionLimits().waiting


@frozen
class Worker:
    """Who this worker is: a name that no other worker has, also not in an earlier life; and where it keeps data.

    `exposed`: it listens where other machines can reach it. `former`: what its earlier life went by, if there was one.
    """

    name: str
    data: Path
    exposed: bool = False
    former: str | None = None


BASE: tuple[type[Any], ...] = (Worker, Clock, Registry, Timers, Rooms, Sessions, Health, OutboxLimits)
"""What the kernel itself brings to every plugin."""


def check_graph(plugins: Iterable[Plugin]) -> list[Plugin]:
    """The plugins in an order in which they can start.

    Raises:
        ConfigError: something is missing, doubled or circular; its sentence names all that was found.
    """
    by_name: dict[str, Plugin] = {}
    providers: dict[type[Any], list[str]] = {port: ["the kernel"] for port in BASE}
    problems: list[str] = []
    for plugin in plugins:
        if plugin.name in by_name:
            problems.append(f"plugin {plugin.name} is listed twice")
        by_name[plugin.name] = plugin
        if plugin.on_failure == "restart" and plugin.provides:
            problems.append(f"plugin {plugin.name} provides something, so it cannot be restarted alone")
        for port in plugin.provides:
            providers.setdefault(port, []).append(plugin.name)
    for port, names in providers.items():
        if len(names) > 1 and not getattr(port, "many", False):
            problems.append(f"{port.__name__} is provided by {' and '.join(names)}; list only one of them")
    graph: dict[str, set[str]] = {}
    for plugin in by_name.values():
        problems += [
            f"plugin {plugin.name} requires {port.__name__}, which no listed plugin provides"
            for port in plugin.requires
            if port not in providers
        ]
        wanted = {name for port in (*plugin.requires, *plugin.wants) for name in providers.get(port, ())}
        graph[plugin.name] = wanted & by_name.keys() - {plugin.name}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        problems.append("plugins require each other in a circle: " + " → ".join(error.args[1]))
    if problems:
        raise ConfigError("; ".join(problems))
    return [by_name[name] for name in order]


class _Once:
    """Tells the kernel of a plugin's first start; one that is restarted may say it again."""

    def __init__(self, status: trio.TaskStatus[Sequence[Provision]]) -> None:
        self._status = status
        self.done = False

    def started(self, value: Sequence[Provision] = ()) -> None:
        if not self.done:
            self.done = True
            self._status.started(value)


class Kernel:
    """One worker: base services, and plugins around them."""

    def __init__(
        self,
        plugins: Sequence[tuple[Plugin, Any]],
        config: KernelConfig | None = None,
        *,
        worker: Worker,
        clock: Clock | None = None,
        base: Mapping[type[Any], Any] | None = None,
        refusals_are_told: bool = False,
    ) -> None:
        """`plugins` come with their configuration; `base` adds to what the kernel brings.

        `refusals_are_told`: whoever calls `serve` tells a `WegentError` that it raises to the user, so it isn't logged.
        """
        self.config = config or KernelConfig()
        self._configs = {plugin.name: section for plugin, section in plugins}
        self._order = check_graph(plugin for plugin, _ in plugins)
        clock = clock or SystemClock()
        registry, timers = Registry(), Timers()
        rooms = Rooms(registry)
        limits = SessionLimits(lanes=self.config.lanes, waiting=self.config.waiting)
        self.sessions = Sessions(rooms, timers, clock, registry, limits)
        self.health = Health()
        self._timers = timers
        self.deps = Deps(
            {
                Worker: worker,
                Clock: clock,
                Registry: registry,
                Timers: timers,
                Rooms: rooms,
                Sessions: self.sessions,
                Health: self.health,
                OutboxLimits: OutboxLimits(high=self.config.high, hard=self.config.hard),
                **(base or {}),
            }
        )
        self.stopped = trio.Event()
        """Set when `serve` has stopped everything."""
        self._stop = trio.Event()
        self._failure: Exception | None = None
        self._refusals_are_told = refusals_are_told
        self._starting = trio.CancelScope()
        self._lives: list[tuple[Plugin, trio.CancelScope, trio.Event]] = []

    def stop(self) -> None:
        """Begin to drain, then stop; plain, may be called from a signal's task."""
        self._stop.set()
        self._starting.cancel()

    async def serve(self, *, task_status: trio.TaskStatus[Deps] = trio.TASK_STATUS_IGNORED) -> None:
        """Start everything, serve until `stop` or cancellation, and stop everything in order."""
        async with trio.open_nursery() as outer:
            outer.start_soon(self._stop_when_cancelled)
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.shield = True  # what depends on a plugin must end before it: cancelled in order
                nursery.start_soon(self._timers.run)
                try:
                    with self._starting:
                        for plugin in self._order:
                            self.deps.add(plugin.name, await nursery.start(self._life, plugin))
                        task_status.started(self.deps)
                        await self._stop.wait()
                    if self._failure is not None:
                        raise self._failure
                    await self._drain()
                finally:
                    await self._end_lives()
                    nursery.cancel_scope.cancel()
                    self.stopped.set()
            outer.cancel_scope.cancel()
        if self._failure is not None:  # while stopping
            raise self._failure

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.stop()

    async def _life(self, plugin: Plugin, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        scope, ended, status = trio.CancelScope(), trio.Event(), _Once(task_status)
        life = (plugin, scope, ended)
        self._lives.append(life)
        log.debug("starting plugin %s", plugin.name)
        try:
            with scope:
                await self._run(plugin, status)
        except Exception as error:
            if not status.done:
                raise
            refused = all(isinstance(leaf, WegentError) for leaf in leaves(error))
            level = logging.DEBUG if refused and self._refusals_are_told else logging.ERROR
            log.log(level, "plugin %s failed; everything stops", plugin.name)
            self._failure = self._failure or error
            self.stop()
        finally:
            ended.set()

    async def _run(self, plugin: Plugin, task_status: _Once) -> None:
        delay = 0.5
        while True:
            try:
                await plugin.run(self._configs[plugin.name], self.deps, task_status=task_status)
            except Exception:
                if plugin.on_failure == "stop":
                    raise
                log.exception("plugin %s failed; it starts again in %g s", plugin.name, delay)
                await trio.sleep(delay)
                delay = min(2 * delay, 30.0)
            else:
                return

    async def _drain(self) -> None:
        self.health.draining = True
        self.sessions.draining = True
        deadline = trio.current_time() + self.config.drain_timeout
        for plugin, _, ended in reversed(self._lives):
            if not ended.is_set():
                with trio.move_on_at(deadline + 1.0) as scope:
                    try:
                        await plugin.drain(deadline)
                    except Exception:
                        log.exception("plugin %s did not drain", plugin.name)
                if scope.cancelled_caught:
                    log.warning("plugin %s did not drain in time", plugin.name)

    async def _end_lives(self) -> None:
        for plugin, scope, ended in reversed(self._lives):
            scope.cancel()
            with trio.CancelScope(shield=True), trio.move_on_after(self.config.stop_timeout):
                await ended.wait()
                continue
            log.warning("plugin %s did not stop within %g s", plugin.name, self.config.stop_timeout)
