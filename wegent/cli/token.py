"""`wegent token`: tokens for people, devices and executor hosts."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from wegent.cli.deployment import Deployment, add_data_options, open_deployment
from wegent.cli.table import show_table
from wegent.cli.user import with_user
from wegent.core.errors import AccessDenied, InvalidPayload
from wegent.protocol.limits import MAX_DEVICE_ID
from wegent.server.owners import check_targets
from wegent.server.ports.store import Unit
from wegent.server.records import Token, User

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers

SCOPES = ("user", "device", "executor")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=3660)


def lifetime(text: str) -> timedelta:
    """A time such as 90m, 12h, 30d or 4w, up to ten years."""
    match = re.fullmatch(r"([1-9]\d{0,6})([mhdw])", text)
    span = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if span is None or span > LONGEST:
        message = f"{text!r} is no lifetime: write 90m, 12h, 30d or 4w, up to ten years"
        raise argparse.ArgumentTypeError(message)
    return span


def targets(text: str) -> list[str]:
    """Names of executors, with commas between them."""
    return [name for part in text.split(",") if (name := part.strip())]


def add_parser(subparsers: Subparsers) -> None:
    """`wegent token add | list | revoke`."""
    parser = subparsers.add_parser("token", help="add, list, revoke tokens")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="issue a token and print it", description="Issue a token and print it.")
    add.add_argument("--user", required=True, metavar="NAME", help="whom it speaks for")
    add.add_argument("--scope", choices=SCOPES, default="user", help="what it is good for (default: user)")
    add.add_argument("--name", default="", help="what to call it in lists")
    add.add_argument("--expires", type=lifetime, default=timedelta(days=30), metavar="30d", help="how long it is good")
    add.add_argument("--device-id", metavar="ID", help="scope device: the one device that may use it")
    add.add_argument("--targets", type=targets, metavar="A,B", help="scope executor: the executors that it stands for")
    show = actions.add_parser("list", help="show tokens", description="Show tokens, newest first.")
    show.add_argument("--user", metavar="NAME", help="of this user only")
    revoke = actions.add_parser("revoke", help="end a token for good", description="End a token for good.")
    revoke.add_argument("jti", metavar="JTI", help="its id, as listed")
    for action in (add, show, revoke):
        add_data_options(action)


def run(args: argparse.Namespace) -> int:
    """Do one action."""
    trio.run(partial(_run, args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    claims = _claims(args) if args.action == "add" else {}
    async with open_deployment(args) as deployment:
        match args.action:
            case "add":
                await _add(deployment, args, claims)
            case "list":
                await _list(deployment, args.user)
            case _:
                record = await deployment.auth.revoke(args.jti)
                print(f"{record.jti} is revoked")


def _claims(args: argparse.Namespace) -> dict[str, Any]:
    """The claims that the scope takes beside the common ones."""
    if message := _misfit(args):
        raise InvalidPayload(message)
    if args.device_id is not None and not 1 <= len(args.device_id) <= MAX_DEVICE_ID:
        message = f"a device id has 1 to {MAX_DEVICE_ID} characters"
        raise InvalidPayload(message)
    if args.device_id is not None:
        return {"device_id": args.device_id}
    return {"targets": check_targets(args.targets)} if args.targets else {}


def _misfit(args: argparse.Namespace) -> str | None:
    """What option the scope lacks, or has no use for."""
    scope = args.scope
    if args.device_id is not None and scope != "device":
        return f"a token of scope {scope} is for no device: write --scope device, or leave out --device-id"
    if args.targets is not None and scope != "executor":
        return f"a token of scope {scope} has no targets: write --scope executor, or leave out --targets"
    if scope == "device" and args.device_id is None:
        return "which device is it for? --scope device needs --device-id ID"
    if scope == "executor" and not args.targets:
        return "which executors does it stand for? --scope executor needs --targets with at least one name"
    return None


async def _add(deployment: Deployment, args: argparse.Namespace, claims: dict[str, Any]) -> None:
    user = await deployment.store.read(with_user(args.user, lambda _, user: user))
    if not user.active:
        message = f"{user.user_name} is not active"
        raise AccessDenied(message)
    token, record = await deployment.auth.issue(user, args.scope, args.expires, name=args.name, **claims)
    print(token)
    until = f"{record.expires_at:%Y-%m-%d %H:%M} UTC" if record.expires_at else "for ever"
    sys.stderr.write(f"{record.jti}: {args.scope} token for {user.user_name}, good until {until}\n")


async def _list(deployment: Deployment, name: str | None) -> None:
    now = deployment.clock.now()
    if name is None:
        tokens = await deployment.store.read(lambda unit: [(t, unit.user(t.user_id)) for t in unit.tokens()])
    else:
        tokens = await deployment.store.read(with_user(name, _tokens_of))
    rows = []
    for token, user in tokens:
        over = token.expires_at is not None and token.expires_at <= now
        state = "revoked" if token.revoked_at else "expired" if over else "good"
        until = f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "-"
        owner = user.user_name if user else str(token.user_id)
        rows.append([token.jti, owner, token.scope, token.name, state, until])
    show_table(["id", "user", "scope", "name", "state", "until (UTC)"], rows)


def _tokens_of(unit: Unit, user: User) -> list[tuple[Token, User | None]]:
    return [(token, user) for token in unit.tokens(user.id)]
