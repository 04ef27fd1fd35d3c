"""Where a run goes: decided, and refused, when its row is made (protocol §7)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import AccessDenied, Conflict, DeviceOffline, NotFound
from wegent.core.model import Principal
from wegent.core.text import clean
from wegent.protocol.auth import Scope
from wegent.protocol.limits import DEVICE_RESUME_WINDOW_S
from wegent.protocol.status import DeviceStatus
from wegent.server.owners import device_of, device_target, targets_of
from wegent.server.ports.store import Unit
from wegent.server.records import Device, Task, Token
from wegent.server.teams import CHAT_SHELL, TeamSetup

COMMAND = "Command"
CHAT = "Chat"
UNCONFINED = ("local", "process")
"""Executors in which a command can do to this machine whatever the server's user can."""


class CommandPolicy(StrEnum):
    """Who may run the shell type `Command` on `local` and `process`.

    `auto` is everybody while the server listens on this machine only, else its admins.
    """

    AUTO = "auto"
    ADMIN = "admin"
    EVERYBODY = "everybody"
    NOBODY = "nobody"

    def in_force(self, *, exposed: bool) -> CommandPolicy:
        """What `auto` comes to on a server that is, or is not, exposed."""
        if self is not CommandPolicy.AUTO:
            return self
        return CommandPolicy.ADMIN if exposed else CommandPolicy.EVERYBODY


@frozen
class Targets:
    """What runs can be sent to here. `executors` are those of this server's plugins, `window` how long a device that
    lost its connection counts as there.
    """

    clock: Clock
    executors: Collection[str]
    default: str = "local"
    command: CommandPolicy = CommandPolicy.EVERYBODY
    window: timedelta = timedelta(seconds=DEVICE_RESUME_WINDOW_S)

    def decide(
        self, unit: Unit, principal: Principal, setup: TeamSetup, *, device_id: str | None, task: Task | None
    ) -> str:
        """The target of a run that the principal asks for; `task` is the one it goes on with, if any.

        Raises:
            NotFound: the device is none of the user's.
            DeviceOffline: it is neither connected nor within its window.
            AccessDenied: a command is not for this user to run.
            Conflict: nothing here provides the executor.
        """
        if device_id is not None:
            return self._device(unit, principal.user_id, device_id)
        if task is not None and task.device_id is not None:
            return self._device(unit, task.owner_id, task.device_id)
        target = CHAT_SHELL if setup.shell_type == CHAT else setup.executor or self.default
        self._permit(unit, principal, setup.shell_type, target)
        self._provided(unit, target)
        return target

    def again(self, unit: Unit, principal: Principal, setup: TeamSetup, target: str) -> str:
        """Where a run goes that went to `target` before: to the same device, else as the shell is now.

        Raises as `decide`.
        """
        device = device_of(target)
        if device is not None:
            return self._device(unit, *device)
        return self.decide(unit, principal, setup, device_id=None, task=None)

    def _device(self, unit: Unit, user_id: int, device_id: str) -> str:
        device = unit.device(user_id, device_id)
        if device is None:
            message = f"there is no device {clean(device_id)!r} of yours"
            raise NotFound(message)
        if not self.reachable(device):
            message = f"the device {device.name!r} is offline; start it, or send the message elsewhere"
            raise DeviceOffline(message)
        return device_target(user_id, device_id)

    def reachable(self, device: Device) -> bool:
        """Whether the device is connected and doesn't call itself offline, or may still come back to what it runs."""
        if device.connection is not None:
            return device.status != DeviceStatus.OFFLINE
        since = device.offline_since
        return since is not None and self.clock.now() - since < self.window

    def _permit(self, unit: Unit, principal: Principal, shell_type: str, target: str) -> None:
        if shell_type != COMMAND or target not in UNCONFINED or self.command is CommandPolicy.EVERYBODY:
            return
        user = unit.user(principal.user_id)
        if self.command is CommandPolicy.NOBODY or user is None or user.role != "admin":
            who = "nobody" if self.command is CommandPolicy.NOBODY else "its admins only"
            message = f"commands on {target!r} are for {who} here; the server's setting chat.command says so"
            raise AccessDenied(message)

    def _provided(self, unit: Unit, target: str) -> None:
        if target in self.executors:
            return
        now = self.clock.now()
        tokens = [token for token in unit.tokens(scope=Scope.EXECUTOR.value) if _valid(token, now)]
        hosts = {name for token in tokens for name in targets_of(token.claims)}
        if target not in hosts:
            there = ", ".join(sorted({*self.executors, *hosts})) or "none"
            message = f"nothing here provides the executor {target!r}; there are: {there}"
            raise Conflict(message)


def free_device(unit: Unit, target: str) -> str | None:
    """Another device of the same user that is online and has a slot for one more, as a target; their default first."""
    lost = device_of(target)
    if lost is None:
        return None
    user_id, device_id = lost
    waiting = unit.depths()
    for device in sorted(unit.devices(user_id), key=lambda each: not each.is_default):
        other = device_target(user_id, device.device_id)
        there = device.connection is not None and device.status == DeviceStatus.ONLINE
        if there and device.device_id != device_id and unit.holding(other) + waiting.get(other, 0) < device.slot_max:
            return other
    return None


def _valid(token: Token, now: datetime) -> bool:
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now)
