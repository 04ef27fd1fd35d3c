"""`wegent serve`: the server."""

from __future__ import annotations

import argparse
import fcntl
import gc
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import trio

from wegent.cli.commands import Subparsers
from wegent.cli.deployment import add_data_options
from wegent.cli.supervisor import Slot, check, supervise
from wegent.core.config import merge
from wegent.core.errors import ConfigError
from wegent.core.kernel import Kernel, Worker
from wegent.core.ports.plugin import Deps
from wegent.logs import configure
from wegent.presets.assembly import Assembly, assemble, read_tree
from wegent.server.auth import TokenAuth
from wegent.server.ports.store import Store
from wegent.transports.plugin import ListenerConfig, Listening, is_exposed

PASSWORD_VARIABLE = "WEGENT_ADMIN_PASSWORD"  # noqa: S105 - a variable's name
ADMIN = "admin"


def add_parser(subparsers: Subparsers) -> None:
    """The command's options."""
    parser = subparsers.add_parser("serve", help="run a server", description="Run a server.")
    parser.add_argument("--bind", metavar="HOST:PORT", help="where to listen (127.0.0.1:8000); port 0 picks one")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that share the port (1)")
    parser.add_argument("--slot", type=Slot.of, help=argparse.SUPPRESS)
    add_data_options(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal; 0 after an orderly end."""
    tree = read_tree(args.config, os.environ, args.settings)
    if args.bind:
        tree = merge(tree, {"listener": {"bind": args.bind}})
    if args.slot is not None:
        here = {"listener": {"descriptors": list(args.slot.listening)}, "front-door": {"peers": args.slot.peers}}
        tree = merge(tree, here)
    assembly = assemble(tree)
    try:
        configure(assembly.log.format, assembly.log.level)
    except ValueError as error:
        message = f"[log] level: {assembly.log.level!r} is none; there are DEBUG, INFO, WARNING, ERROR"
        raise ConfigError(message) from error
    args.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if args.slot is not None:  # the supervisor has the folder
        trio.run(_serve, assembly, args.data, args.slot, strict_exception_groups=True)
        return 0
    with locked(args.data):
        if args.workers != 1:
            check(assembly, args.workers)
            return supervise(assembly, args, _command(args))
        trio.run(_serve, assembly, args.data, None, strict_exception_groups=True)
    return 0


def _command(args: argparse.Namespace) -> list[str]:
    """What starts a worker on the same configuration."""
    command = [sys.executable, "-m", "wegent.cli.main", "serve", "--data", str(args.data)]
    command += ["--config", str(args.config)] if args.config else []
    command += ["--bind", args.bind] if args.bind else []
    return [*command, *(part for setting in args.settings for part in ("--set", setting))]


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Keep the data folder for this process alone.

    Raises:
        ConfigError: another one has it.
    """
    with (data / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"the data folder {data} is used by another process{_pid(file)}; name another one by --data"
            raise ConfigError(message) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _pid(file: IO[str]) -> str:
    file.seek(0)
    pid = file.read(20).strip()
    return f" ({pid})" if pid.isdecimal() else ""


async def _serve(assembly: Assembly, data: Path, slot: Slot | None) -> None:
    binds = [section.bind for _, section in assembly.plugins if isinstance(section, ListenerConfig)]
    name, former = _names(data, slot)
    worker = Worker(name, data, exposed=any(map(is_exposed, binds)), former=former)
    kernel = Kernel(assembly.plugins, assembly.kernel, worker=worker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, kernel)
        if slot is not None:
            nursery.start_soon(_stop_with_supervisor, kernel, slot.life)
        try:
            deps = await nursery.start(kernel.serve)
        except RuntimeError:
            if not kernel.stopped.is_set():
                raise
            deps = None  # it was stopped before it had started
        if isinstance(deps, Deps):
            await _first_user(deps)
            _tune_collector()
            if slot is None:
                _announce(deps, assembly, data)
            else:
                os.write(slot.ready, b".")
                os.close(slot.ready)
        await kernel.stopped.wait()
        nursery.cancel_scope.cancel()


def _names(data: Path, slot: Slot | None) -> tuple[str, str | None]:
    """A name for this life, and that of the former one on these data, in this slot; kept for the next one."""
    name = secrets.token_hex(4) if slot is None else f"{slot.number}-{secrets.token_hex(4)}"
    kept = data / ("worker" if slot is None else f"worker-{slot.number}")
    former = kept.read_text().strip() if kept.exists() else None
    kept.write_text(f"{name}\n")
    return name, former


async def _stop_with_supervisor(kernel: Kernel, life: int) -> None:
    async with trio.lowlevel.FdStream(life) as stream:
        await stream.receive_some(1)
    kernel.stop()


def _tune_collector() -> None:
    """What is there now stays for ever, and thousands of connections need not be looked through often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _stop_on_signal(kernel: Kernel) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            kernel.stop()


async def _first_user(deps: Deps) -> None:
    """At the first start: the user `admin`, with a password that is given or made."""
    store = deps.one(Store)
    if await store.read(lambda unit: bool(unit.users(limit=1))):
        return
    given = os.environ.get(PASSWORD_VARIABLE)
    password = given or secrets.token_urlsafe(12)
    hashed = await deps.one(TokenAuth).passwords.hash(password)
    await store.write(lambda unit: unit.add_user(ADMIN, password_hash=hashed, role="admin"))
    if given:
        sys.stdout.write(f"First user: {ADMIN}, with the password of {PASSWORD_VARIABLE}\n")
    else:
        sys.stdout.write(f"First user: {ADMIN}, password: {password} (shown this once)\n")


def _announce(deps: Deps, assembly: Assembly, data: Path) -> None:
    """One line that says where the server listens and what it runs on."""
    urls = [f"http://{_host(host)}:{port}" for host, port in deps.one(Listening).addresses]
    names = ", ".join(plugin.name for plugin, _ in assembly.plugins)
    sys.stdout.write(f"Wegent listens on {' and '.join(urls)} (data: {data}; plugins: {names})\n")
    command = "wegent" if "wegent" in Path(sys.argv[0]).name else f"{sys.executable} -m wegent.cli.main"
    if command == "wegent" and os.sep in sys.argv[0]:
        command = sys.argv[0]
    sys.stdout.write(f"Log in there, or chat from here: {command} chat --server {urls[0]} --user {ADMIN}\n")
    sys.stdout.flush()


def _host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - shown, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host
