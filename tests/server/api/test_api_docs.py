"""The reference names every call that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parents[3] / "docs/reference/rest.md"
PREFIX = "/api/v1"


async def test_the_reference_names_every_call(scene: Any) -> None:
    told = set(re.findall(r"^\| `([A-Z]+ /[^` ]*)`", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    there = set()
    for rule in scene.app.url_map.iter_rules():
        if rule.rule.startswith(PREFIX):
            path = re.sub("<(?:\\w+:)?(?:\\w+_)?(\\w+)>", r"{\1}", rule.rule.removeprefix(PREFIX))
            there |= {f"{method} {path}" for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert told == there
