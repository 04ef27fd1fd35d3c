"""Which subcommands there are: the built-in ones, and what installed packages add.

A command is a module with `add_parser(subparsers)`, which makes a parser of the command's name, and `run(args) -> int`,
which returns the exit code. A package adds one by an entry point in the group `wegent.commands`, whose name is the
command's and whose value is the module.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias, cast

from attrs import frozen

from wegent.core.errors import ConfigError

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_parser` is given."""

GROUP = "wegent.commands"
BUILT_IN = (
    "serve",
    "chat",
    "apply",
    "get",
    "delete",
    "user",
    "token",
    "chat-shell",
    "executor",
    "device",
    "plugins",
    "config",
    "db",
)


class CommandModule(Protocol):
    """What a command's module has."""

    def add_parser(self, subparsers: Subparsers) -> object:
        """Add the command's parser."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit code."""


@frozen
class Command:
    """One subcommand, not imported yet. `source`: the package that it comes from."""

    name: str
    source: str
    importer: Callable[[], Any]

    def load(self) -> CommandModule:
        """Its module.

        Raises:
            ConfigError: it can't be imported, or is not a command's module.
        """
        try:
            module = self.importer()
        except Exception as error:
            reason = str(error) or type(error).__name__
            message = f"the command {self.name!r} of {self.source} can't be loaded: {reason}"
            raise ConfigError(message) from error
        if not callable(getattr(module, "add_parser", None)) or not callable(getattr(module, "run", None)):
            message = f"the command {self.name!r} of {self.source} has no add_parser and run"
            raise ConfigError(message)
        return cast("CommandModule", module)


def discover() -> Mapping[str, Command]:
    """All commands by name. A built-in one can't be replaced; of two packages with the same name the first counts."""
    found: dict[str, Command] = {}
    for name in BUILT_IN:
        path = f"wegent.cli.{name.replace('-', '_')}"
        if importlib.util.find_spec(path) is not None:
            found[name] = Command(name, "wegent", lambda path=path: importlib.import_module(path))  # type: ignore[misc]
    for point in entry_points(group=GROUP):
        source = point.dist.name if point.dist else point.value
        found.setdefault(point.name, Command(point.name, source, point.load))
    return found
