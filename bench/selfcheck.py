"""Does the load generator notice what a server drops, repeats or swaps? `python -m bench.selfcheck` tries."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench import build, data, process
from bench.loadgen import Load
from bench.servers import Running

CLIENTS, COUNT = 10, 1000
PER_CLIENT = COUNT // 100  # the server harms one token of a hundred
EXPECTED: dict[str, dict[str, int]] = {
    "": {"gaps": 0, "lost": 0, "repeats": 0},
    "drop": {"gaps": PER_CLIENT, "lost": PER_CLIENT, "repeats": 0},
    "repeat": {"gaps": 0, "lost": 0, "repeats": PER_CLIENT},
    "swap": {"gaps": 2 * PER_CLIENT, "lost": 2 * PER_CLIENT, "repeats": PER_CLIENT},
}


def watch(load: Load, fault: str) -> dict[str, Any]:
    """Return what the load generator counted of a server with this fault."""
    port = process.free_port()
    child = process.spawn([build.C_SERVER, str(port), fault], process.SERVER_CORE)
    try:
        process.wait_for_port(port, child)
        running = Running("c", port, child.pid, [])
        result = load.run(running, "watch", connections=CLIENTS, first_task=data.BIG_ROOM, count=COUNT, limit=2)
        streams: dict[str, Any] = result["streams"]
        return streams
    finally:
        process.stop(child)


def main() -> int:
    build.programs()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens"
        data.write_tokens(tokens)
        for fault, expected in EXPECTED.items():
            streams = watch(Load(tokens), fault)
            seen = {key: streams[key] for key in expected}
            fine = seen == {key: CLIENTS * value for key, value in expected.items()}
            wrong += not fine
            print(f"{fault or 'no fault'}: {seen} {'as it should be' if fine else 'WRONG'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
