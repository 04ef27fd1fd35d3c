"""A part of a deployment: what it needs, what it brings, and its life."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar, cast

import trio
from attrs import frozen

from wegent.core.errors import ConfigError

T = TypeVar("T")


@frozen
class Provision:
    """One thing that a plugin brings: an implementation of a port; with a name, where a port has many."""

    port: type[Any]
    value: Any
    name: str = ""


class Deps:
    """What plugins have brought so far, by port."""

    def __init__(self, base: Mapping[type[Any], Any]) -> None:
        self._one: dict[type[Any], Any] = dict(base)
        self._many: dict[type[Any], dict[str, Any]] = {}

    def add(self, plugin: str, provisions: Sequence[Provision]) -> None:
        """Take what a plugin brings.

        Raises:
            ConfigError: another plugin brought the same.
        """
        for provision in provisions:
            if getattr(provision.port, "many", False):
                named = self._many.setdefault(provision.port, {})
                name = provision.name or plugin
                if name in named:
                    message = f"plugin {plugin} brings a second {provision.port.__name__} {name!r}"
                    raise ConfigError(message)
                named[name] = provision.value
            else:
                self._one[provision.port] = provision.value

    def one(self, port: type[T]) -> T:
        """The implementation of a port that has one. Asking for what is not in `requires` is a defect (KeyError)."""
        return cast("T", self._one[port])

    def maybe(self, port: type[T]) -> T | None:
        """The same, None where no plugin brought it."""
        return cast("T | None", self._one.get(port))

    def all(self, port: type[T]) -> Mapping[str, T]:
        """Every implementation of a port that may have many, by name; in order of start."""
        return dict(self._many.get(port, {}))


@frozen
class NoConfig:
    """The configuration of a plugin that has none."""


class Plugin(ABC):
    """One part of a deployment, made anew for each kernel.

    `requires` are ports that must be brought by plugins started before, `wants` those to start after if there are any;
    `provides` what `run` will bring. `Config` is an attrs class: the plugin's section of the configuration.
    `on_failure`: a plugin that ends with an error stops the kernel, or, where it provides nothing, may be restarted.
    """

    __slots__ = ()
    name: ClassVar[str]
    requires: ClassVar[tuple[type[Any], ...]] = ()
    wants: ClassVar[tuple[type[Any], ...]] = ()
    provides: ClassVar[tuple[type[Any], ...]] = ()
    Config: ClassVar[type[Any]] = NoConfig
    on_failure: ClassVar[Literal["stop", "restart"]] = "stop"

    @abstractmethod
    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """The plugin's life. `task_status.started(provisions)` ends its start; cancelling ends it."""

    async def drain(self, deadline: float) -> None:  # noqa: B027 - most plugins have nothing to finish
        """Finish what is under way, take nothing new; return by `deadline` (Trio's clock). `run` is still alive."""
