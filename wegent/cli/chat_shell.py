"""`wegent chat-shell`: the Chat Shell as a service of its own (protocol §9)."""

from __future__ import annotations

import argparse
import ipaddress
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from wegent.cli.errors import leaves
from wegent.core.config import Secret
from wegent.core.errors import ConfigError
from wegent.engines.anthropic import AnthropicConfig, AnthropicEngine
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.executors.chat_shell_service import ChatShellService, ServiceConfig, make_app
from wegent.protocol.limits import MAX_CONCURRENT_CHATS
from wegent.server.ports.engine import Engine

if TYPE_CHECKING:
    from wegent.cli.commands import Subparsers

TOKEN_VARIABLE = "WEGENT_CHAT_SHELL_TOKEN"  # noqa: S105 - a name, not a secret
KEY_VARIABLE = "OPENAI_API_KEY"
ANTHROPIC_VARIABLE = "ANTHROPIC_API_KEY"
GRACE_S = 30.0


def add_parser(subparsers: Subparsers) -> None:
    """Add the parser of `chat-shell`."""
    parser = subparsers.add_parser(
        "chat-shell",
        help="answer chats for servers on other machines",
        description="Serve engines over HTTP. A request says which model it wants; see --engine for those that do not.",
        epilog=f"Environment: {TOKEN_VARIABLE} in place of --token; {KEY_VARIABLE} as the key for --base-url, "
        f"{ANTHROPIC_VARIABLE} as that of the engine anthropic.",
    )
    parser.add_argument("--bind", default="127.0.0.1:8100", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--token", help="what callers must send as bearer token; default: anybody may call")
    parser.add_argument(
        "--engine", default="offline", choices=("offline", "openai", "anthropic"), help="default: %(default)s"
    )
    parser.add_argument("--base-url", metavar="URL", help="endpoint of models that name none")
    parser.add_argument(
        "--max-chats", type=int, default=MAX_CONCURRENT_CHATS, metavar="N", help="at once; default: %(default)s"
    )
    parser.add_argument("--pace", type=float, default=60.0, help="tokens a second of the engine offline, 0: no limit")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; the exit code."""
    if args.max_chats < 1:
        raise ConfigError("--max-chats: expected at least 1")
    token = args.token or os.environ.get(TOKEN_VARIABLE) or None
    service = ServiceConfig(default_engine=args.engine, max_concurrent_chats=args.max_chats, token=token)
    key = _key(KEY_VARIABLE)
    openai = OpenAIConfig(base_url=args.base_url, api_key=key) if args.base_url else OpenAIConfig(api_key=key)
    anthropic = AnthropicConfig(api_key=_key(ANTHROPIC_VARIABLE))
    trio.run(_serve, args.bind, service, openai, anthropic, OfflineConfig(tokens_per_s=max(0.0, args.pace)))
    return 0


def _key(variable: str) -> Secret | None:
    return Secret(os.environ[variable]) if os.environ.get(variable) else None


async def _serve(
    bind: str, config: ServiceConfig, openai: OpenAIConfig, anthropic: AnthropicConfig, offline: OfflineConfig
) -> None:
    async with AsyncExitStack() as stack:
        engines: dict[str, Engine] = {
            "offline": OfflineEngine(offline),
            "openai": await stack.enter_async_context(OpenAIEngine.open(openai)),
            "anthropic": await stack.enter_async_context(AnthropicEngine.open(anthropic)),
        }
        chats = ChatShellService(engines, config)
        nursery = await stack.enter_async_context(trio.open_nursery())
        stop = trio.Event()
        started = partial(serve, make_app(chats), _hypercorn(bind), shutdown_trigger=stop.wait, mode="asgi")
        try:
            (address,) = await nursery.start(started)
        except* (OSError, ValueError, OverflowError) as group:
            reason = next(leaves(group))
            raise ConfigError(f"--bind: can't listen on {bind}: {reason}") from reason
        _announce(address, config)
        await _signalled()
        stop.set()
        await _finished(chats)
        nursery.cancel_scope.cancel()


async def _finished(chats: ChatShellService) -> None:
    """Until the chats that are on have ended and their last bytes are written; connections may stay open idly."""
    with trio.move_on_after(GRACE_S):
        while chats.chats:  # noqa: ASYNC110 - asked once a process
            await trio.sleep(0.1)
    await trio.sleep(0.1)


def _hypercorn(bind: str) -> Config:
    config = Config()
    config.bind = [bind]
    config.errorlog = None
    config.graceful_timeout = GRACE_S
    return config


async def _signalled() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


def _announce(address: str, config: ServiceConfig) -> None:
    chats = f"{config.max_concurrent_chats} chats at once, engine {config.default_engine} by default"
    print(f"wegent chat-shell listens on {address}: {chats}", flush=True)
    if config.token is None and not _is_local(address):
        print("No --token is set: whoever reaches this address can use its models.", file=sys.stderr, flush=True)


def _is_local(address: str) -> bool:
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True  # a Unix socket
