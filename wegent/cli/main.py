"""The `wegent` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from wegent.cli.commands import Command, CommandModule, discover
from wegent.cli.errors import USAGE, report
from wegent.core.errors import ConfigError

DESCRIPTION = "Wegent: live AI work. Every viewer sees every token, live, once and in order."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments, discover())
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output went away (`wegent … | head`): nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        return report(error)
    return code


def _run(arguments: list[str], commands: Mapping[str, Command]) -> int:
    """Only the module of the command that is asked for is imported; help needs them all."""
    named = arguments[0] if arguments and arguments[0] in commands else None
    chosen = {named: commands[named]} if named else commands
    parser = argparse.ArgumentParser(prog="wegent", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"wegent {_version()}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    modules: dict[str, CommandModule] = {}
    for name, command in chosen.items():
        try:
            module = command.load()
            module.add_parser(subparsers)
            modules[name] = module
        except ConfigError as error:
            if named:
                raise
            subparsers.add_parser(name, help=f"(broken) {error.sentence}".replace("%", "%%"), add_help=False)
    if not arguments:
        parser.print_help()
        return USAGE
    args = parser.parse_args(arguments)
    return modules[args.command].run(args)


def _version() -> str:
    try:
        return version("wegent")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
