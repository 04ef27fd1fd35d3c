"""A device as a plugin, so that it works with whatever executors are listed beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import trio
from attrs import frozen

from wegent.client.device import Device, DeviceOptions
from wegent.client.errors import Stranger, Unreachable
from wegent.client.monitor import Hurry, LogMonitor, Monitor
from wegent.client.session import Backoff, Renew, Session, open_session
from wegent.core.clock import Clock
from wegent.core.config import Secret
from wegent.core.errors import ConfigError
from wegent.core.ports.executor import Executor
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.protocol.events import LOCAL_EXECUTOR
from wegent.protocol.limits import DEFAULT_SLOTS, MAX_DEVICE_ID, MAX_DEVICE_NAME, MAX_LIST


@frozen
class Renewal:
    """How to come by another token when the present one is refused."""

    renew: Renew


@frozen
class DeviceConfig:
    """`server` and `token` (scope `user` or `device`) say for whom. `id` is what the server knows this device by, the
    same at each start; `name` is for people. `slots` runs go at once, all of them by `executor`.
    """

    server: str
    token: Secret
    id: str
    name: str = ""
    slots: int = DEFAULT_SLOTS
    executor: str = "process"

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.slots <= MAX_LIST:
            message = f"slots is a number from 1 to {MAX_LIST}"
            raise ValueError(message)
        for name, text, most in (("id", self.id, MAX_DEVICE_ID), ("name", self.name or "x", MAX_DEVICE_NAME)):
            if not 1 <= len(text) <= most or not text.isprintable():
                message = f"{name} has 1 to {most} printable characters"
                raise ValueError(message)


class DevicePlugin(Plugin):
    """Does what is sent to this device (protocol §8)."""

    name = "device"
    requires: ClassVar[tuple[type[Any], ...]] = (Executor,)
    Config = DeviceConfig

    def __init__(self) -> None:
        self._device: Device | None = None
        self._hurry = trio.Event()

    async def run(self, config: DeviceConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Stay connected, and work, until cancelled."""
        executors = deps.all(Executor)
        if config.executor not in executors:
            message = f"there is no executor {config.executor!r} here; there are: {', '.join(executors)}"
            raise ConfigError(message)
        if (hurry := deps.maybe(Hurry)) is not None:
            self._hurry = hurry.event
        monitor, renewal = deps.maybe(Monitor) or LogMonitor(), deps.maybe(Renewal)
        options = DeviceOptions(config.id, config.name or config.id, config.slots)
        task_status.started([])
        async with AsyncExitStack() as stack:
            session = await _connect(stack, config, renewal, monitor)
            device = Device(session, executors[config.executor], options, deps.one(Clock), monitor)
            self._device = device
            await device.run()

    async def drain(self, deadline: float) -> None:
        """Take nothing more, and let runs end."""
        if self._device is not None:
            await self._device.drain(deadline, self._hurry)


async def _connect(stack: AsyncExitStack, config: DeviceConfig, renewal: Renewal | None, monitor: Monitor) -> Session:
    """The first connection, however long the server is not there."""
    backoff, failures = Backoff(), 0
    while True:
        opening = open_session(
            config.server, config.token, namespace=LOCAL_EXECUTOR, renew=renewal.renew if renewal else None
        )
        try:
            return await stack.enter_async_context(opening)
        except Stranger:
            raise
        except Unreachable as error:
            if not failures:
                monitor.trouble(error.sentence)
        await trio.sleep(backoff.wait(failures))
        failures += 1
