"""Owners: who beats for a run, how long one may be silent, and what a run is told that lost its own (protocol §7).

An owner is a text on the row. A worker goes by its name and beats for all runs in its process; a run on an executor
host has an owner of its own, since a host that starts again under its old name must not keep a dead one's runs alive;
the runs of a device share one, for which the worker beats that holds the device's connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

from attrs import Attribute, field, frozen

from wegent.core.errors import InvalidPayload
from wegent.core.remote import BEAT_LEAST
from wegent.protocol.limits import BEAT_S, DEVICE_RESUME_WINDOW_S, LEASE_S, MAX_EXECUTOR, MAX_NAME
from wegent.protocol.status import RunReason

HOST = "host:"
DEVICE = "device:"


class OwnerKind(StrEnum):
    """What an owner is."""

    WORKER = "worker"
    HOST = "host"
    DEVICE = "device"


def _more_than(beat: float) -> Callable[[Any, Attribute[Any], Any], None]:
    def check(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if value <= beat:
            message = f"{attribute.name} takes more than {beat:g} s, for such an owner beats no more often than that"
            raise ValueError(message)

    return check


@frozen
class Lapses:
    """Seconds without a new beat after which an owner is lost. A device's begin at its disconnect."""

    worker: float = field(default=LEASE_S, validator=_more_than(BEAT_S))
    host: float = field(default=LEASE_S, validator=_more_than(BEAT_LEAST))
    device: float = field(default=DEVICE_RESUME_WINDOW_S, validator=_more_than(BEAT_S))


def host_owner(executor: str, subtask_id: int, attempt: int) -> str:
    """The owner of one attempt on the executor host of that name.

    Raises:
        InvalidPayload: the name is longer than 200 code points.
    """
    if len(executor) > MAX_EXECUTOR:
        message = f"`executor`: expected at most {MAX_EXECUTOR} characters"
        raise InvalidPayload(message)
    return f"{HOST}{executor}/{subtask_id}.{attempt}"


def device_owner(user_id: int, device_id: str) -> str:
    """The owner of all runs of a device; its target on rows is the same text."""
    return f"{DEVICE}{user_id}:{device_id}"


device_target = device_owner


def device_of(name: str) -> tuple[int, str] | None:
    """The user's id and the device's, of a device's owner or target; None for any other."""
    user_id, colon, device_id = name.removeprefix(DEVICE).partition(":")
    if not name.startswith(DEVICE) or not colon or not user_id.isdecimal():
        return None
    return int(user_id), device_id


def kind_of(owner: str) -> OwnerKind:
    """What that owner is."""
    if owner.startswith(HOST):
        return OwnerKind.HOST
    return OwnerKind.DEVICE if owner.startswith(DEVICE) else OwnerKind.WORKER


def targets_of(claims: Mapping[str, Any]) -> list[str]:
    """What the claims of an executor token say it may run. Devices have tokens of their own."""
    targets = claims.get("targets")
    if not isinstance(targets, list | tuple):
        return []
    return [target for target in targets if isinstance(target, str) and device_of(target) is None]


def check_targets(names: Collection[str]) -> list[str]:
    """The targets of a new executor token, each once.

    Raises:
        InvalidPayload: one is no executor's name.
    """
    for name in names:
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip() or "," in name:
            message = (
                f"a target is an executor's name: 1 to {MAX_NAME} printable characters, no commas, no blanks around"
            )
            raise InvalidPayload(message)
        if name.startswith(DEVICE):
            message = "a device is no target of an executor host: it has a token of scope device"
            raise InvalidPayload(message)
    return list(dict.fromkeys(names))


def is_remote(owner: str) -> bool:
    """Whether its runs are in no worker's process, so that they outlive one."""
    return kind_of(owner) is not OwnerKind.WORKER


def reason_of(owner: str) -> RunReason:
    """What a run that lost this owner is told: as `chat:error.type`, or as the next attempt's `chat:start.reason`."""
    return _REASONS[kind_of(owner)]


def lapse_of(owner: str, lapses: Lapses | None = None) -> float:
    """Seconds without a new beat after which this owner is lost."""
    seconds: float = getattr(lapses or Lapses(), kind_of(owner).value)
    return seconds


_REASONS = {
    OwnerKind.WORKER: RunReason.WORKER_LOST,
    OwnerKind.HOST: RunReason.EXECUTOR_LOST,
    OwnerKind.DEVICE: RunReason.DEVICE_LOST,
}
