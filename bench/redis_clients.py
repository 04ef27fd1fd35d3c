"""Redis clients on the same work: what one subscriber takes in a second, and what one publisher gives.

    python -m bench.redis_clients [--messages 200000]

Messages of 300 bytes on a thousand channels, as appends are announced. One Redis on one core with the sender, the
receiver on the other; the CPU told is the receiver's own. Giving: commands in pipelines of 50, or as they come where a
client joins them by itself, each answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import hiredis
import redis
import redis.asyncio
import trio

from bench import process
from bench.redis import redis_server
from wegent.fanout.redis.link import Link, open_link
from wegent.fanout.redis.opening import Limits
from wegent.fanout.redis.url import parse_url

CHANNELS = 1_000
BODY = b"x" * 300
PIPELINE = 50


def names() -> list[str]:
    return [f"bench:{{task:{k}}}" for k in range(CHANNELS)]


def send(url: str, count: int) -> None:
    """Publish as fast as Redis takes it: the sender of the receiving half. `count` is a multiple of the channels."""
    turn = b"".join(hiredis.pack_command(("PUBLISH", name, BODY)) for name in names())
    target = urlsplit(url)
    with socket.create_connection((target.hostname, target.port)) as connection:
        for _ in range(count // CHANNELS):
            connection.sendall(turn)
            left = CHANNELS
            while left > 0:
                left -= connection.recv(65_536).count(b":")


class Counted:
    """Counts what comes, and says when all is there."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.seen = wanted, 0

    def add(self, _: object) -> bool:
        self.seen += 1
        return self.seen >= self.wanted


async def ours_receives(url: str, count: int, ready: Callable[[], None]) -> None:
    """The reader of hiredis on a Trio stream: the link that carries Wegent's fan-out."""
    counted, over = Counted(count), trio.Event()

    def pushed(reply: object) -> bool:
        if type(reply) is not list or reply[0] != b"message":
            return False
        if counted.add(reply[2]):
            over.set()
        return True

    async with open_link(Link(parse_url(url), Limits(), name="bench", pushed=pushed)) as link:
        for name in names():
            link.post_blind("SUBSCRIBE", name)
        await link.ready()
        ready()
        await over.wait()


async def ours_sends(url: str, count: int) -> None:
    channels = names()
    async with open_link(Link(parse_url(url), Limits(), name="bench")) as link:
        for k in range(count):
            if link.full:
                await link.room()
            link.post_blind("PUBLISH", channels[k % CHANNELS], BODY)
        await link.ready()


async def asyncio_receives(url: str, count: int, ready: Callable[[], None]) -> None:
    """`redis.asyncio`, with hiredis."""
    counted = Counted(count)
    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(*names())
        for _ in names():
            await pubsub.get_message(timeout=1)
        ready()
        async for message in pubsub.listen():
            if message["type"] == "message" and counted.add(message["data"]):
                return


async def asyncio_sends(url: str, count: int) -> None:
    channels = names()
    async with redis.asyncio.Redis.from_url(url) as client:
        for start in range(0, count, PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for k in range(start, start + PIPELINE):
                pipeline.execute_command("PUBLISH", channels[k % CHANNELS], BODY)
            await pipeline.execute()


async def thread_receives(url: str, count: int, ready: Callable[[], None]) -> None:
    """`redis` in a thread, each message handed to Trio."""
    counted, over = Counted(count), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def take(data: object) -> None:
        if counted.add(data):
            over.set()

    def listen() -> None:
        with redis.Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(*names())
            for _ in names():
                pubsub.get_message(timeout=1)
            ready()
            for seen, message in enumerate(pubsub.listen(), 1):
                token.run_sync_soon(take, message["data"])
                if seen >= count:
                    return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, listen)
        await over.wait()


async def thread_sends(url: str, count: int) -> None:
    channels = names()
    client = redis.Redis.from_url(url)

    def execute(start: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for k in range(start, start + PIPELINE):
            pipeline.execute_command("PUBLISH", channels[k % CHANNELS], BODY)
        pipeline.execute()

    for start in range(0, count, PIPELINE):
        await trio.to_thread.run_sync(execute, start)


Receives = Callable[[str, int, Callable[[], None]], Awaitable[None]]
Sends = Callable[[str, int], Awaitable[None]]
CLIENTS: dict[str, tuple[Receives, Sends]] = {
    "wegent": (ours_receives, ours_sends),
    "redis-py in a thread": (thread_receives, thread_sends),
    "redis.asyncio": (asyncio_receives, asyncio_sends),
}


def play(name: str, url: str, count: int, *, sends: bool) -> None:
    """Measure one client in this process, and print what it took."""
    receive, give = CLIENTS[name]
    began = [time.perf_counter(), time.process_time()]

    def ready() -> None:
        began[:] = [time.perf_counter(), time.process_time()]
        print("ready", flush=True)

    def work() -> None:
        loop = asyncio.run if "asyncio" in name else trio.run
        if sends:
            loop(give, url, count) if loop is trio.run else asyncio.run(give(url, count))  # type: ignore[arg-type]
        elif loop is trio.run:
            trio.run(receive, url, count, ready)
        else:
            asyncio.run(receive(url, count, ready))  # type: ignore[arg-type]

    if sends:
        ready()
    work()
    seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    print(json.dumps({"per_s": count / seconds, "cpu_us": cpu / count * 1e6}))


def measure(name: str, url: str, count: int, *, sends: bool) -> dict[str, float]:
    """The same in a process of its own, on the core of the load."""
    command = [sys.executable, "-m", "bench.redis_clients", "--play", name, "--url", url, "--messages", str(count)]
    child = process.spawn([*command, *(["--sends"] if sends else [])], process.LOAD_CORE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    watchdog = threading.Timer(300, child.kill)
    watchdog.start()
    try:
        if child.stdout.readline().strip() != b"ready":
            raise RuntimeError(f"{name} did not begin")
        if not sends:
            sender = [sys.executable, "-m", "bench.redis_clients", "--send", "--url", url, "--messages", str(count)]
            process.spawn(sender, process.SERVER_CORE).wait()
        found: dict[str, float] = json.loads(child.stdout.readline())
        return found
    finally:
        watchdog.cancel()
        process.stop(child)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.redis_clients", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    for name in ("--play", "--url"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--send", "--sends"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.url, options.messages)
    elif options.play:
        play(options.play, options.url, options.messages, sends=options.sends)
    else:
        compare(options.messages)


def compare(count: int) -> None:
    patient = ("--client-output-buffer-limit", "pubsub 0 0 0")  # slow receivers are waited for, not cut off
    with (
        tempfile.TemporaryDirectory(prefix="wegent-bench-") as folder,
        redis_server(Path(folder), *patient) as (url, _),
    ):
        print("| client | received/s | CPU µs each | given/s | CPU µs each |\n|---|---:|---:|---:|---:|")
        for name in CLIENTS:
            got, given = (measure(name, url, count, sends=sends) for sends in (False, True))
            figures = f"{got['per_s']:,.0f} | {got['cpu_us']:.1f} | {given['per_s']:,.0f} | {given['cpu_us']:.1f}"
            print(f"| {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
