"""An agent that tells where and what it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


async def run(job: Any, sink: Any) -> None:
    await sink.text(f"{os.getpid()}|{Path.cwd()}|{os.environ['WEGENT_TASK_ID']}|{os.getsid(0)}")
