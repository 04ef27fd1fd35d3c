"""The life of a program that works for a server elsewhere: plugins around a kernel, until a signal."""

from __future__ import annotations

import argparse
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from wegent.cli.serve import locked
from wegent.client.monitor import Hurry
from wegent.core.errors import ConfigError
from wegent.core.kernel import Kernel, Worker
from wegent.logs import configure
from wegent.presets.assembly import Assembly


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Options that every such program has."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="A.B=C", help="one setting")


def work(
    assembly: Assembly,
    data: Path,
    base: Mapping[type[Any], Any],
    *,
    beside: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Work until a signal; the first asks for the end, the second for haste. 0 after an orderly end. `beside` runs
    meanwhile.

    Raises:
        ConfigError: the configuration is wrong, or another process has the data folder.
        WegentError: the server refused.
    """
    try:
        configure(assembly.log.format, assembly.log.level)
    except ValueError as error:
        message = f"[log] level: {assembly.log.level!r} is none; there are DEBUG, INFO, WARNING, ERROR"
        raise ConfigError(message) from error
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(data):
        trio.run(_work, assembly, data.absolute(), base, beside, strict_exception_groups=True)
    return 0


async def _work(
    assembly: Assembly, data: Path, base: Mapping[type[Any], Any], beside: Callable[[], Awaitable[None]] | None
) -> None:
    hurry = Hurry()
    worker = Worker(secrets.token_hex(4), data)
    base = {**base, Hurry: hurry}
    kernel = Kernel(assembly.plugins, assembly.kernel, worker=worker, base=base, refusals_are_told=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, kernel, hurry)
        if beside is not None:
            nursery.start_soon(beside)
        await kernel.serve()
        nursery.cancel_scope.cancel()


async def _stop_on_signal(kernel: Kernel, hurry: Hurry) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            kernel.stop()
            async for _ in signals:
                hurry.event.set()
