"""A Redis server for the time of a measurement, on the servers' core."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import process


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Keep one running, in memory only, with further options; gives its URL and its process id."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("redis-server is missing: install Redis 6.2 or newer")
    folder.mkdir(parents=True, exist_ok=True)
    port = process.free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with (folder / "redis.log").open("ab") as output:
        child = process.spawn(
            [*command, "--appendonly", "no", *options], process.SERVER_CORE, stdout=output, stderr=output
        )
    try:
        process.wait_for_port(port, child)
        yield f"redis://127.0.0.1:{port}/0", child.pid
    finally:
        process.stop(child)
