"""An executor host as a plugin, so that it works with whatever executors are listed beside it."""

from __future__ import annotations

import binascii
import platform
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import trio
from attrs import frozen

from wegent.client.host import Host, HostOptions
from wegent.client.monitor import Hurry, LogMonitor, Monitor
from wegent.client.rest import open_rest
from wegent.codec import CodecError, decode
from wegent.core.clock import Clock
from wegent.core.config import Secret
from wegent.core.errors import ConfigError
from wegent.core.ports.executor import Executor
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.protocol.limits import MAX_FETCH_WAIT_S, MAX_LIST

MAX_NAME = 200


@frozen
class HostConfig:
    """`server` and `token` (scope `executor`) say for whom. `targets`: what runs are taken for, each `name` or
    `name=executor`; those of the token by default. What is for no executor's name goes to `executor`. `name` is this
    host's own; `slots` runs go at once; `wait_s`: whole seconds that one question for runs waits at the server.
    """

    server: str
    token: Secret
    targets: tuple[str, ...] = ()
    executor: str = "process"
    name: str = ""
    slots: int = 5
    wait_s: int = 20

    def __attrs_post_init__(self) -> None:
        for name, least, most in (("slots", 1, MAX_LIST), ("wait_s", 1, MAX_FETCH_WAIT_S)):
            if not least <= getattr(self, name) <= most:
                message = f"{name} is a number from {least} to {most}"
                raise ValueError(message)
        if len(self.name) > MAX_NAME:
            message = f"name has at most {MAX_NAME} characters"
            raise ValueError(message)


class HostPlugin(Plugin):
    """Takes runs from a server elsewhere (protocol §7.1)."""

    name = "host"
    requires: ClassVar[tuple[type[Any], ...]] = (Executor,)
    Config = HostConfig

    def __init__(self) -> None:
        self._host: Host | None = None
        self._hurry = trio.Event()

    async def run(self, config: HostConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Work until drained."""
        executors = deps.all(Executor)
        targets = assign(config.targets or targets_of(config.token), executors, config.executor)
        options = HostOptions(config.name or platform.node() or "host", targets, config.slots, config.wait_s)
        if (hurry := deps.maybe(Hurry)) is not None:
            self._hurry = hurry.event
        monitor = deps.maybe(Monitor) or LogMonitor()
        async with open_rest(config.server, config.token, connections=config.slots + 1) as rest:
            self._host = Host(rest, executors, options, deps.one(Clock), monitor)
            task_status.started([])
            await self._host.run()

    async def drain(self, deadline: float) -> None:
        """Take nothing more, and let runs end."""
        if self._host is not None:
            await self._host.drain(deadline, self._hurry)


def assign(targets: Iterable[str], executors: Mapping[str, Executor], default: str) -> dict[str, str]:
    """The executor for each target: the one that is named, that of its own name, or the default one.

    Raises:
        ConfigError: there is no such executor, or no target.
    """
    assigned: dict[str, str] = {}
    for given in targets:
        target, _, named = given.strip().partition("=")
        assigned[target] = named or (target if target in executors else default)
    if not assigned or not all(assigned):
        message = "name at least one target, such as --targets gpu, or --targets gpu=process"
        raise ConfigError(message)
    for target, name in assigned.items():
        if name not in executors:
            there = ", ".join(executors) or "none"
            message = f"there is no executor {name!r} here for the target {target!r}; there are: {there}"
            raise ConfigError(message)
    return assigned


def claims_of(token: str) -> Mapping[str, Any]:
    """What a token says of itself, nothing for what is none. It is not checked here: that is the server's to do."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = decode(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (CodecError, binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def targets_of(token: str) -> list[str]:
    """What a host's token says that it is for.

    Raises:
        ConfigError: it is no token, or none for a host.
    """
    claims = claims_of(token)
    if not claims:
        message = "the token is none: make one by `wegent token add --user NAME --scope executor --targets NAME`"
        raise ConfigError(message)
    if claims.get("scope") != "executor":
        message = f"the token is of scope {claims.get('scope')!r}; an executor host needs one of scope executor"
        raise ConfigError(message)
    targets = claims.get("targets")
    return [each for each in targets if isinstance(each, str)] if isinstance(targets, list) else []
