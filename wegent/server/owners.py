"""Owners: who beats for a run, how long one may be silent, and what a run is told that lost its own (protocol §7).

An owner is a text on the row. A worker goes by its name and beats for all runs in its process; a run on an executor
host has an owner of its own, since a host that starts again under its old name must not keep a dead one's runs alive;
the runs of a device share one, for which the worker beats that holds the device's connection.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from wegent.core.errors import InvalidPayload
from wegent.protocol.limits import DEVICE_RESUME_WINDOW_S, LEASE_S
from wegent.protocol.status import RunReason

HOST = "host:"
DEVICE = "device:"
MAX_EXECUTOR = 200
"""Code points of an executor host's name."""


class OwnerKind(StrEnum):
    """What an owner is."""

    WORKER = "worker"
    HOST = "host"
    DEVICE = "device"


@frozen
class Lapses:
    """Seconds without a new beat after which an owner is lost. A device's begin at its disconnect."""

    worker: float = LEASE_S
    host: float = LEASE_S
    device: float = DEVICE_RESUME_WINDOW_S


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
