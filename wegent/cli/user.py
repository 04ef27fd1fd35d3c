"""`wegent user`: the people of a server, worked on in its database; a running server sees it within two seconds."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from wegent.cli.deployment import Deployment, add_data_options, open_deployment
from wegent.cli.table import show_table
from wegent.core.errors import InvalidPayload, NotFound
from wegent.server.ports.store import Unit
from wegent.server.records import User
from wegent.server.users import check_name, end_logins

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers

T = TypeVar("T")
PAGE = 500


def add_parser(subparsers: Subparsers) -> None:
    """`wegent user add | list | deactivate | activate | password`."""
    parser = subparsers.add_parser("user", help="add, list, deactivate users; set passwords")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (
        ("add", "add a user"),
        ("password", "set a password"),
        ("deactivate", "end a user's access; open connections close within seconds"),
        ("activate", "give it back"),
        ("list", "show all users"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        if name != "list":
            action.add_argument("name", metavar="NAME")
        if name == "add":
            action.add_argument("--admin", action="store_true", help="may administer the server")
        if name in ("add", "password"):
            action.add_argument("--password-stdin", action="store_true", help="read the password's line from stdin")
        add_data_options(action)


def run(args: argparse.Namespace) -> int:
    """Do one action."""
    password = _password(ask_stdin=args.password_stdin) if args.action in ("add", "password") else ""
    trio.run(partial(_run, args, password))
    return 0


async def _run(args: argparse.Namespace, password: str) -> None:
    async with open_deployment(args) as deployment:
        match args.action:
            case "add":
                await _add(deployment, args.name, password, admin=args.admin)
            case "password":
                await _set_password(deployment, args.name, password)
                print(f"{args.name} has a new password; whoever is logged in has to log in again")
            case "deactivate" | "activate":
                await _change(deployment, args.name, active=args.action == "activate")
                print(f"{args.name} is {'active' if args.action == 'activate' else 'no longer active'}")
            case _:
                await _list(deployment)


async def _add(deployment: Deployment, name: str, password: str, *, admin: bool) -> None:
    check_name(name)
    hashed = await deployment.auth.passwords.hash(password)
    role = "admin" if admin else "user"
    user = await deployment.store.write(lambda unit: unit.add_user(name, password_hash=hashed, role=role))
    print(f"{user.user_name} is {role} {user.id}")


async def _set_password(deployment: Deployment, name: str, password: str) -> None:
    hashed = await deployment.auth.passwords.hash(password)

    def work(unit: Unit, user: User) -> None:
        unit.update_user(user.id, password_hash=hashed)
        end_logins(unit, user, deployment.clock.now())

    await deployment.store.write(with_user(name, work))


async def _change(deployment: Deployment, name: str, **changes: object) -> None:
    await deployment.store.write(with_user(name, lambda unit, user: unit.update_user(user.id, **changes)))


def with_user(name: str, work: Callable[[Unit, User], T]) -> Callable[[Unit], T]:
    """A unit of work on the user of this name; `NotFound` where there is none."""

    def unit_of_work(unit: Unit) -> T:
        user = unit.user_named(name)
        if user is None:
            message = f"there is no user {name!r}; `wegent user list` shows all"
            raise NotFound(message)
        return work(unit, user)

    return unit_of_work


async def _list(deployment: Deployment) -> None:
    rows: list[list[str]] = []
    after = 0
    while page := await deployment.store.read(lambda unit, after=after: unit.users(after_id=after, limit=PAGE)):  # type: ignore[misc]
        after = page[-1].id
        for user in page:
            state = "active" if user.active else "inactive"
            rows.append([str(user.id), user.user_name, user.role, state, f"{user.created_at:%Y-%m-%d %H:%M}"])
    show_table(["id", "name", "role", "state", "since (UTC)"], rows)


def _password(*, ask_stdin: bool) -> str:
    """From the first line of stdin, or asked for twice in a terminal."""
    if ask_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        message = "to read the password from a pipe, give --password-stdin"
        raise InvalidPayload(message)
    try:
        first, second = getpass.getpass("Password: "), getpass.getpass("Once more: ")
    except EOFError:
        message = "no password was given"
        raise InvalidPayload(message) from None
    if first != second:
        message = "the two passwords differ"
        raise InvalidPayload(message)
    return first
