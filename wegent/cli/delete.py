"""`wegent delete`: remove a kind."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

import trio

from wegent.cli.get import add_kind_options, kind_path
from wegent.cli.signin import signed_in

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """The command's options."""
    parser = subparsers.add_parser(
        "delete",
        help="remove a team, bot, model …",
        description="Remove one of your kinds, or with --public a public one, if no other refers to it.",
    )
    add_kind_options(parser)


def run(args: argparse.Namespace) -> int:
    """Remove it."""
    trio.run(partial(_delete, args))
    print(f"{args.kind} {args.namespace}/{args.name} deleted")
    return 0


async def _delete(args: argparse.Namespace) -> None:
    async with signed_in(args) as rest:
        scope = "public" if args.public else "own"
        await rest.call("DELETE", f"{kind_path(args)}?scope={scope}")
