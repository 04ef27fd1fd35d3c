"""The data folder that a command works on, its database, and its signing secret."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import frozen

from wegent.core.clock import Clock, SystemClock
from wegent.core.config import build
from wegent.core.errors import ConfigError
from wegent.presets.assembly import read_tree
from wegent.server.auth import TokenAuth
from wegent.server.ports.store import Store
from wegent.server.tokens import Signer, read_secret
from wegent.storage.opening import open_store
from wegent.storage.plugin import DATABASE, StorageConfig


@frozen
class Deployment:
    """A server's data, whether the server runs or not."""

    data: Path
    store: Store
    clock: Clock
    auth: TokenAuth


def add_data_options(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """The options that say where a server keeps its data; the same as those of `wegent serve`.

    Where it is not `needed`, nothing is named by default.
    """
    data = Path(os.environ.get("WEGENT_DATA", "data")) if needed else None
    parser.add_argument("--data", type=Path, default=data, metavar="DIR", help="data folder")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="A.B=C", help="one setting")


@asynccontextmanager
async def open_deployment(args: argparse.Namespace) -> AsyncIterator[Deployment]:
    """The data that the options name.

    Raises:
        ConfigError: there is none, or the configuration is wrong.
        StoreAway: the database does not answer.
    """
    url, signer = _prepare(args)
    clock = SystemClock()
    async with open_store(url, clock=clock) as store:
        yield Deployment(args.data, store, clock, TokenAuth(store, signer, clock))


def _prepare(args: argparse.Namespace) -> tuple[str, Signer]:
    """The database's URL and the data folder's signer."""
    data: Path = args.data
    url = database_url(args)
    if url.startswith("memory:"):
        message = "this server keeps its data in memory only: there is nothing to change from outside"
        raise ConfigError(message)
    if not data.is_dir():
        message = f"there is no data folder {data}: start `wegent serve --data {data}` once, or name another by --data"
        raise ConfigError(message)
    return url, Signer(read_secret(data))


def database_url(args: argparse.Namespace) -> str:
    """The configured `storage.url`, else the database in the data folder."""
    section = read_tree(args.config, os.environ, args.settings).get("storage", {})
    config = build(StorageConfig, section if isinstance(section, dict) else {}, "storage")
    return str(config.url or f"sqlite:///{(args.data / DATABASE).absolute()}")
