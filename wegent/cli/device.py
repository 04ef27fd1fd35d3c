"""`wegent device`: does what is sent to this machine (protocol §8)."""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from rich.console import Console

from wegent.cli.credentials import TokenFile
from wegent.cli.device_view import DeviceView
from wegent.cli.signin import SignIn
from wegent.cli.working import add_config_options, work
from wegent.client.device_plugin import Renewal
from wegent.client.monitor import Monitor
from wegent.client.plugin import claims_of
from wegent.client.rest import open_rest
from wegent.core.config import Secret, merge
from wegent.core.errors import ConfigError, WegentError
from wegent.presets.assembly import assemble, read_tree
from wegent.protocol.limits import MAX_DEVICE_ID

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers

TOKEN_VARIABLE = "WEGENT_DEVICE_TOKEN"  # noqa: S105 - a variable's name
SERVER = "http://127.0.0.1:8000"
EPILOG = f"""\
Environment: WEGENT_SERVER in place of --server, {TOKEN_VARIABLE} of --token, WEGENT_PASSWORD of --password.
Without a token it logs in as `wegent chat` does. Which agents there are is said as for a server:
--set 'process.agents={{Chat="my_agents:answer"}}'

Ctrl-C or SIGTERM: nothing more is taken, and what runs may end within kernel.drain_timeout (25 s). What does not, or
what runs at a second Ctrl-C, is ended as FAILED."""


def add_parser(subparsers: Subparsers) -> None:
    """The command's options."""
    parser = subparsers.add_parser(
        "device",
        help="let your runs be done on this machine",
        description="Be a device of yours: do on this machine what is sent to it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--server", metavar="URL", help=f"the server's address ({SERVER})")
    parser.add_argument("--user", metavar="NAME", help="who you are there")
    parser.add_argument("--password", help="your password; better in the environment")
    parser.add_argument("--token", help="a token of scope user or device, instead of logging in")
    parser.add_argument("--no-save", action="store_true", help="keep no token for the next time")
    parser.add_argument("--name", help="what people see (the machine's name)")
    parser.add_argument("--id", help="what the server knows this device by (kept in the data folder)")
    parser.add_argument("--slots", type=int, metavar="N", help="runs at once (5)")
    parser.add_argument("--executor", metavar="NAME", help="what does them (process)")
    parser.add_argument("--data", type=Path, default=_data(), metavar="DIR", help=f"folder ({_data()})")
    parser.add_argument("--plain", action="store_true", help="plain lines also in a terminal")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Work until a signal; 0 after an orderly end."""
    tree = read_tree(args.config, os.environ, args.settings, preset="device")
    tree = merge({"device": {"server": SERVER, "name": _machine()}}, tree, {"device": _given(args)})
    section = tree["device"]
    password = args.password or os.environ.get("WEGENT_PASSWORD")
    base: dict[type[Any], Any] = {}
    if not section.get("token"):
        user, section["token"] = trio.run(_log_in, args, str(section["server"]), password)
        if password is not None:
            base[Renewal] = Renewal(_renewer(str(section["server"]), user, password))
    if not section.get("id"):
        section["id"] = claims_of(str(section["token"])).get("device_id") or kept_id(args.data)
    console = None if args.plain or not sys.stdout.isatty() else Console()
    view = DeviceView(str(section["server"]), str(section["name"]), str(section["id"]), console)
    return work(assemble(tree), args.data, {**base, Monitor: view}, beside=view.run)


def _data() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "wegent" / "device"


def _machine() -> str:
    return platform.node() or "device"


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The section [device] as far as options and environment name it."""
    token = args.token or os.environ.get(TOKEN_VARIABLE)
    given = {
        "server": args.server or os.environ.get("WEGENT_SERVER"),
        "token": Secret(token) if token else None,
        "name": args.name,
        "id": args.id,
        "slots": args.slots,
        "executor": args.executor,
    }
    return {name: value for name, value in given.items() if value is not None}


def kept_id(data: Path) -> str:
    """The id that this data folder has had since its first start.

    Raises:
        ConfigError: the folder can't be written.
    """
    path = data / "device_id"
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            name = "".join(letter if letter.isalnum() else "-" for letter in _machine())[:40]
            path.write_text(f"{name}-{secrets.token_hex(6)}\n", encoding="utf-8")
        return path.read_text(encoding="utf-8").strip()[:MAX_DEVICE_ID]
    except OSError as error:
        message = f"the data folder {data} can't be used: {error.strerror}; name another one by --data"
        raise ConfigError(message) from error


async def _log_in(args: argparse.Namespace, server: str, password: str | None) -> tuple[str, Secret]:
    """Who logged in, and the token."""
    async with open_rest(server) as rest:
        sign_in = SignIn(
            rest,
            server,
            user=args.user,
            password=password,
            kept=None if args.no_save else TokenFile(),
            may_ask=sys.stdin.isatty() and sys.stderr.isatty(),
        )
        await sign_in.teams(None, anew=args.password is not None)
        token = rest.token or ""
        return str(claims_of(token).get("sub") or args.user), Secret(token)


def _renewer(server: str, user: str, password: str) -> Any:
    async def renew(error: WegentError) -> str:
        del error
        async with open_rest(server) as rest:
            return (await rest.login(user, password)).token

    return renew
