"""How containers are made: the plugin's settings, and what the engine is told of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from wegent.core.errors import RunFailed
from wegent.executors.agents import unknown_shell, with_defaults
from wegent.protocol.jobs import JobBot
from wegent.runner.environment import MARK

FOLDER = "/workspace"
"""Where a container has its task's folder."""
_NOBODY = 65_534
_USER = re.compile(r"\d+:\d+")
_LEAST_MEMORY = 16 * 1024**2
_PERIOD_US = 100_000
_RESOURCES = ("memory", "cpus", "pids")


def _usable_user(_: object, __: object, value: str) -> None:
    if not _USER.fullmatch(value):
        message = 'user is a number of a user and one of a group, such as "1000:1000"'
        raise ValueError(message)


def _own_user() -> str:
    """The server's own, so that it may read what a container writes; nobody where that would be root."""
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() else f"{_NOBODY}:{_NOBODY}"


@frozen
class ContainerLimits:
    """What a container may use. `memory` (no swap beside it), `file` and `tmp` are bytes: of all its processes, of one
    file that is written, and of /tmp, which counts as memory; `cpus` is how many it may keep busy, `pids` how many
    processes and threads it may have, `files` how many files each may have open.
    """

    memory: int = 2 * 1024**3
    cpus: float = 2.0
    pids: int = 512
    file: int = 4 * 1024**3
    files: int = 4_096
    tmp: int = 256 * 1024**2

    def __attrs_post_init__(self) -> None:
        """Refuse what no container can live with."""
        least = {"memory": _LEAST_MEMORY, "cpus": 0.01, "pids": 4, "file": 0, "files": 32, "tmp": 4_096}
        for name, value in least.items():
            if getattr(self, name) < value:
                message = f"{name} is at least {value}"
                raise ValueError(message)

    def within(self, resources: Mapping[str, Any]) -> ContainerLimits:
        """These, or less where a Shell's `resources` say so.

        Raises:
            RunFailed: they are not what they should be.
        """
        less = {}
        for name, value in resources.items():
            if name not in _RESOURCES or type(value) not in (int, float):
                raise RunFailed(
                    "A Shell's `resources` for docker are `memory` in bytes, `cpus` and `pids`, as numbers."
                )
            less[name] = min(getattr(self, name), value if name == "cpus" else int(value))
        try:
            return evolve(self, **less)
        except ValueError as error:
            raise RunFailed(f"The Shell's `resources` are too small: {error}.") from error


@frozen
class Plan:
    """What a bot runs in: image, limits, and the program; None: the image's own."""

    image: str
    program: tuple[str, ...] | None
    limits: ContainerLimits


@frozen
class DockerOptions:
    """By shell type: `agents` (`module:function`, run by `python` in the image), `commands` (a program and its
    arguments), `images` (instead of `image`; with neither agent nor command its own program is run). `shell_images` are
    patterns, as of file names, of images that Shells may name for themselves.

    Seconds: `timeout` of a whole run, `grace` between the steps of its end, `exit` for a runner to end after its last
    word, `idle` after which a stopped container is removed; at most `kept` of these are there. `user` is UID:GID.
    """

    socket: Path = Path("/var/run/docker.sock")
    image: str = "wegent-runner"
    images: Mapping[str, str] = field(factory=dict)
    shell_images: tuple[str, ...] = ()
    agents: Mapping[str, str] = field(factory=dict)
    commands: Mapping[str, tuple[str, ...]] = field(factory=dict)
    python: str = "python3"
    user: str = field(factory=_own_user, validator=_usable_user)
    network: str = "none"
    read_only: bool = True
    limits: ContainerLimits = field(factory=ContainerLimits)
    environment: Mapping[str, str] = field(factory=dict)
    timeout: float = 3_600.0
    grace: float = 5.0
    exit: float = 2.0
    idle: float = 3_600.0
    kept: int = 100

    @property
    def owner(self) -> tuple[int, int]:
        """`user`, as numbers."""
        uid, _, gid = self.user.partition(":")
        return int(uid), int(gid)

    def plan(self, bot: JobBot) -> Plan:
        """What the bot runs in.

        Raises:
            RunFailed: there is nothing for its shell type, or its Shell wants what it may not have.
        """
        image = self.images.get(bot.shell_type, self.image) if bot.image is None else self._allowed(bot.image)
        return Plan(image, self._program(bot), self.limits.within(bot.resources or {}))

    def _allowed(self, image: str) -> str:
        if any(fnmatchcase(image, pattern) for pattern in self.shell_images):
            return image
        there = ", ".join(self.shell_images) or "none"
        message = f"The Shell's image {image!r} is not one that Shells may name here (`docker.shell_images`): {there}."
        raise RunFailed(message, type="image")

    def _program(self, bot: JobBot) -> tuple[str, ...] | None:
        agents = with_defaults(self.agents)
        if program := self.commands.get(bot.shell_type):
            return program
        if reference := agents.get(bot.shell_type):
            return (self.python, "-P", "-m", "wegent.runner", reference)
        if bot.shell_type not in self.images and bot.image is None:
            raise unknown_shell("docker", bot.shell_type, {*agents, *self.commands, *self.images})
        return None

    def settings(self, plan: Plan, task_id: int, folder: Path) -> dict[str, Any]:
        """What a container for a task is made of beside its image and labels, as the engine takes it."""
        environment = {"HOME": "/tmp", **self.environment, MARK: str(task_id)}  # noqa: S108 - the container's own
        return {
            **({} if plan.program is None else {"Entrypoint": plan.program}),
            "Env": [f"{name}={value}" for name, value in environment.items()],
            "User": self.user,
            "WorkingDir": FOLDER,
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": self._host(plan.limits, folder),
        }

    def _host(self, limits: ContainerLimits, folder: Path) -> dict[str, Any]:
        most = {"fsize": limits.file, "nofile": limits.files, "core": 0}
        return {
            "Init": True,
            "Memory": limits.memory,
            "MemorySwap": limits.memory,
            "CpuPeriod": _PERIOD_US,
            "CpuQuota": round(limits.cpus * _PERIOD_US),
            "PidsLimit": limits.pids,
            "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in most.items()],
            "NetworkMode": self.network,
            "ReadonlyRootfs": self.read_only,
            "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={limits.tmp}"},  # noqa: S108 - the container's
            "Mounts": [{"Type": "bind", "Source": str(folder.resolve()), "Target": FOLDER}],
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "none"},  # what a runner says is not written to the engine's disk
        }
