"""What the tests of hostile clients have in common."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.serving import Server

MASK = b"\1\2\3\4"
DEEP = "[" * 100_000 + "]" * 100_000


def sessions(server: Server) -> dict[str, float]:
    """Open sessions as the metrics tell them, by labels."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith("wegent_connections"))
    return {name: float(value) for name, _, value in found}


def refused(answer: Any, code: str) -> None:
    assert answer["code"] == code, answer
    assert 0 < len(answer["error"]) < 1_000, "a sentence, not an echo of what came"
