"""Processes under measurement: pinned to a core, with their memory and the kernel's socket memory."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SERVER_CORE, LOAD_CORE = "0", "1"
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Bytes: resident and proportional set of a process with its children; the kernel's for all TCP sockets."""

    rss: int
    pss: int
    kernel: int


def spawn(
    command: Sequence[str | Path],
    core: str,
    *,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command on one core, in a process group of its own."""
    pinned = ["taskset", "-c", core, *map(str, command)]
    environment = {**os.environ, **(env or {})}
    return subprocess.Popen(pinned, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, start_new_session=True)


def stop(process: subprocess.Popen[bytes], grace: float = 3.0) -> None:
    """End a process politely, then firmly."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Return once something accepts connections there; raise if the process ends or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ended at its start with exit code {process.returncode}: {process.args!r}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.03)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def memory(pid: int) -> Memory:
    totals = {"Rss:": 0, "Pss:": 0}
    for member in family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            name, *rest = line.split()
            if name in totals:
                totals[name] += int(rest[0]) * 1024
    return Memory(totals["Rss:"], totals["Pss:"], kernel_socket_memory())


def kernel_socket_memory() -> int:
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * PAGE
    return 0


def core_busy(core: str) -> float:
    """Return the seconds that a core has worked so far, for whomever, stolen time included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, ticks[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS
    raise LookupError(f"no core {core}")


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process and its children have used."""
    total = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def allow_many_files() -> None:
    """Raise the limit on open files as far as it goes; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
