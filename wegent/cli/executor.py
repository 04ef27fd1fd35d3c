"""`wegent executor`: a host that does a server's runs on this machine (protocol §7.1)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wegent.cli.working import add_config_options, work
from wegent.core.config import Secret, merge
from wegent.core.errors import ConfigError
from wegent.presets.assembly import assemble, read_tree

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers

TOKEN_VARIABLE = "WEGENT_EXECUTOR_TOKEN"  # noqa: S105 - a variable's name
EPILOG = f"""\
Environment: WEGENT_SERVER in place of --server, {TOKEN_VARIABLE} in place of --token. A token is made at the server:
wegent token add --user NAME --scope executor --targets gpu

SIGTERM or Ctrl-C: nothing more is taken, and what runs may end within kernel.drain_timeout (25 s). What does not, or
what runs at a second signal, is stopped, and goes the way of its `on_lost` at the server."""


def add_parser(subparsers: Subparsers) -> None:
    """The command's options."""
    parser = subparsers.add_parser(
        "executor",
        help="run a server's agents on this machine",
        description="Take runs from a server, and do them on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--server", metavar="URL", help="the server's address")
    parser.add_argument("--token", help="a token of scope executor; better in the environment")
    parser.add_argument(
        "--targets",
        metavar="A,B=EXECUTOR",
        help="what to take runs for, and which executor here does them (the token's)",
    )
    parser.add_argument("--executor", metavar="NAME", help="for targets that are no executor's name (process)")
    parser.add_argument("--name", help="this host's name (that of the machine)")
    parser.add_argument("--slots", type=int, metavar="N", help="runs at once (5)")
    parser.add_argument(
        "--data", type=Path, default=Path("executor-data"), metavar="DIR", help="folder (executor-data)"
    )
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Work until a signal; 0 after an orderly end."""
    tree = read_tree(args.config, os.environ, args.settings, preset="executor")
    tree = merge(tree, {"host": _given(args)})
    for name, option in (("server", "--server URL"), ("token", f"--token, or {TOKEN_VARIABLE}")):
        if not tree["host"].get(name):
            message = f"which {name}? Give {option}, or host.{name} in the configuration"
            raise ConfigError(message)
    return work(assemble(tree), args.data, {})


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The section [host] as far as options and environment name it."""
    token = args.token or os.environ.get(TOKEN_VARIABLE)
    given = {
        "server": args.server or os.environ.get("WEGENT_SERVER"),
        "token": Secret(token) if token else None,
        "targets": args.targets.split(",") if args.targets else None,
        "executor": args.executor,
        "name": args.name,
        "slots": args.slots,
    }
    return {name: value for name, value in given.items() if value is not None}
