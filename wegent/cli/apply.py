"""`wegent apply`: make kinds as files describe them, all or none."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from wegent.cli.deployment import add_data_options, open_deployment
from wegent.cli.signin import add_server_options, signed_in
from wegent.cli.user import with_user
from wegent.core.errors import InvalidPayload
from wegent.documents import DocumentError, read_documents
from wegent.server.applying import apply, read_kinds, summary
from wegent.server.ports.store import Unit

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers

EPILOG = """\
Without --data a server is asked, as by `wegent chat`. With it the folder's database is changed, whether its server runs
or not; --user then says whose kinds they become. --public makes them everybody's, which takes an admin."""


@frozen
class _Document:
    """A document, and where it stands."""

    file: str
    number: int
    value: Any


def add_parser(subparsers: Subparsers) -> None:
    """The command's options."""
    parser = subparsers.add_parser(
        "apply",
        help="make teams, bots, models … as files describe them",
        description="Make kinds as files (YAML or JSON, several documents each) describe them: all of them, or none.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-f", "--file", nargs="+", action="extend", required=True, metavar="FILE", help="- is the standard input"
    )
    parser.add_argument("--public", action="store_true", help="for everybody")
    add_server_options(parser)
    add_data_options(parser, needed=False)


def run(args: argparse.Namespace) -> int:
    """Apply; prints what became of each."""
    documents = [each for name in args.file for each in _read(name)]
    try:
        outcome = trio.run(partial(_at_server if args.data is None else _in_data, args, documents))
    except InvalidPayload as error:
        raise _placed(error, documents) from error
    for word, items in outcome.items():
        for item in items:
            print(f"{item['kind']} {item['namespace']}/{item['name']} {word}")
    return 0


def _read(name: str) -> list[_Document]:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        found = read_documents(data, json=True if name.endswith(".json") else None)
    except OSError as error:
        message = f"{name} can't be read: {error.strerror}"
        raise InvalidPayload(message) from error
    except DocumentError as error:
        message = f"{name}: document {error.document}, {error.sentence}"
        raise InvalidPayload(message) from error
    return [_Document(name, number, value) for number, value in enumerate(found, 1)]


def _placed(error: InvalidPayload, documents: Sequence[_Document]) -> InvalidPayload:
    """The error with the file, and the number that the document has there."""
    number = error.details.get("document")
    if not isinstance(number, int) or not 0 < number <= len(documents):
        return error
    document = documents[number - 1]
    rest = error.sentence.removeprefix(f"document {number}")
    return InvalidPayload(f"{document.file}: document {document.number}{rest}")


async def _at_server(args: argparse.Namespace, documents: Sequence[_Document]) -> Mapping[str, Any]:
    async with signed_in(args) as rest:
        scope = "public" if args.public else "own"
        return await rest.call("POST", f"kinds/apply?scope={scope}", [each.value for each in documents])


async def _in_data(args: argparse.Namespace, documents: Sequence[_Document]) -> Mapping[str, Any]:
    if args.public == (args.user is not None):
        message = "with --data, give either --user, whose the kinds become, or --public"
        raise InvalidPayload(message)
    written = read_kinds([each.value for each in documents])

    def work(unit: Unit, owner: int | None = None) -> Mapping[str, Any]:
        return summary(apply(unit, owner, written))

    mine = work if args.public else with_user(args.user, lambda unit, user: work(unit, user.id))
    async with open_deployment(args) as deployment:
        return await deployment.store.write(mine)
