"""Runs the load generator and reads what it prints."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import build, process
from bench.servers import Running

Result = dict[str, Any]
OnPhase = Callable[[str], None]


class LoadError(Exception):
    """The load generator ended without a result."""


class Load:
    """Starts load generators, all with one file of tokens, on the load's core."""

    def __init__(self, tokens: Path) -> None:
        self._tokens = tokens

    def begin(self, server: Running, mode: str, *, pause: bool = False, **options: float) -> subprocess.Popen[bytes]:
        """Start one; `finish` gives its result. With `pause` it waits after each phase until it is told to go on."""
        command: list[str | Path] = [build.LOAD, "--port", str(server.port), "--pid", str(server.pid)]
        command += ["--team", str(server.team), "--tokens", self._tokens, *(["--pause"] if pause else [])]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", *([] if value is True else [f"{value:.10g}"])]
        return process.spawn([*command, mode], process.LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def finish(self, child: subprocess.Popen[bytes], on_phase: OnPhase | None = None, seconds: float = 300) -> Result:
        """Read phases as they come (one started with `--pause` goes on after `on_phase` returned), then the result."""
        assert child.stdout is not None
        assert child.stdin is not None
        result: Result | None = None
        watchdog = threading.Timer(seconds, child.kill)
        watchdog.start()
        try:
            for line in child.stdout:
                message = json.loads(line)
                if "phase" not in message:
                    result = message
                elif on_phase is not None:
                    on_phase(message["phase"])
                    child.stdin.write(b"\n")
                    child.stdin.flush()
        finally:
            watchdog.cancel()
            process.stop(child)
            child.stdin.close()
            child.stdout.close()
        if result is None:
            raise LoadError(f"no result, exit code {child.returncode}: {child.args!r}")
        return result

    def run(self, server: Running, mode: str, on_phase: OnPhase | None = None, **options: float) -> Result:
        return self.finish(self.begin(server, mode, pause=on_phase is not None, **options), on_phase)
