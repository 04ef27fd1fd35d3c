"""`wegent get`: show kinds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import trio

from wegent.cli.signin import add_server_options, signed_in
from wegent.cli.table import show_table
from wegent.client.rest import Rest
from wegent.codec import encode
from wegent.documents import write_yaml

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """The command's options."""
    parser = subparsers.add_parser(
        "get",
        help="show teams, bots, models …",
        description="Show kinds: your own, public ones, and teams that are open to you. YAML can be applied again.",
    )
    add_kind_options(parser, name="?")
    parser.add_argument("-o", "--output", choices=("table", "yaml", "json"), default="table", help="(table)")


def add_kind_options(parser: argparse.ArgumentParser, *, name: str | None = None) -> None:
    """Which kind, and at which server."""
    parser.add_argument("kind", type=str.lower, metavar="KIND", help="such as team, bot, ghost, shell, model")
    parser.add_argument("name", nargs=name, metavar="NAME", help="of one")
    parser.add_argument("--namespace", default="default", metavar="NS", help="where NAME is (default)")
    parser.add_argument("--public", action="store_true", help="the public ones")
    add_server_options(parser)


def kind_path(args: argparse.Namespace) -> str:
    """The path of what the options name."""
    parts = [args.kind] if args.name is None else [args.kind, args.namespace, args.name]
    return "/".join(["kinds", *(quote(part, safe="") for part in parts)])


def run(args: argparse.Namespace) -> int:
    """Show them."""
    items = trio.run(partial(_fetch, args))
    match args.output:
        case "yaml":
            print(write_yaml(items), end="")
        case "json":
            print(encode(items[0] if args.name is not None else items).decode())
        case _:
            show_table(["id", "namespace", "name", "title"], [_row(item) for item in items])
    return 0


def _row(item: Mapping[str, Any]) -> list[str]:
    metadata = item["metadata"]
    return [str(item["id"]), metadata["namespace"], metadata["name"], metadata.get("displayName", "")]


async def _fetch(args: argparse.Namespace) -> list[Any]:
    async with signed_in(args) as rest:
        scope = "scope=public" if args.public else ""
        if args.name is not None:
            return [await rest.call("GET", f"{kind_path(args)}?{scope}")]
        return await _all(rest, f"{kind_path(args)}?{scope}")


async def _all(rest: Rest, path: str) -> list[Any]:
    page = await rest.call("GET", path)
    items = list(page["items"])
    while cursor := page.get("next_cursor"):
        page = await rest.call("GET", f"{path}&cursor={cursor}")
        items += page["items"]
    return items
