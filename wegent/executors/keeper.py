"""Owns a program and all that comes of it, and ends all of it when the server is gone. Standard library only.

    python -I -S keeper.py FD NAME=NUMBER… -- PROGRAM ARGUMENT…

FD is a socket to the server. The keeper tells it, a line each: `pid N`; `failed REASON` if the program can't be
started; at the end, when nothing is left, `exit CODE` or `signal N`, with ` oom` behind it if memory was the cause as
far as can be told; `left` if it can't be killed. It takes single bytes: `t` sends SIGTERM to the whole tree, `k`
SIGKILL. When the socket ends, for whatever reason, the tree is killed. Orphans of the tree come back to the keeper
(PR_SET_CHILD_SUBREAPER), also those with sessions of their own, so that none escapes it; the program dies if the
keeper is killed (PR_SET_PDEATHSIG).

It is single-threaded, so that it may fork and set limits before it executes the program.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_LIMITS = {
    "memory": resource.RLIMIT_DATA,
    "cpu": resource.RLIMIT_CPU,
    "file": resource.RLIMIT_FSIZE,
    "files": resource.RLIMIT_NOFILE,
}
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)
_NEAR = 0.75
"""The part of its memory that a process must have used to be taken to have failed for want of it."""
_KILL_S = 5.0

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Run the program and keep it until all of it is gone."""
    fd, *settings = arguments[: arguments.index("--")]
    limits = {name: int(value) for name, _, value in (setting.partition("=") for setting in settings)}
    control = int(fd)
    os.set_inheritable(control, False)
    if _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        _tell(control, "failed this system has no PR_SET_CHILD_SUBREAPER")
        return
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    kept = Kept(limits.get("memory"))
    kept.pid = _start(control, limits, arguments[arguments.index("--") + 1 :])
    _let_go_of_streams()
    _tell(control, f"pid {kept.pid}")
    _watch(kept, control, woken)
    kept.end()
    _tell(control, kept.ending())


def _watch(kept: Kept, control: int, woken: int) -> None:
    """Until the program has ended, or the server is gone."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while kept.status is None:
        for ready, _ in poll.poll():
            if ready == woken:
                os.read(woken, 1024)
                continue
            asked = _receive(control)
            if not asked:
                return
            if b"t" in asked:
                kept.signal(signal.SIGTERM)
            if b"k" in asked:
                kept.killed = True
                return
        kept.reap()


class Kept:
    """The program and what came of it."""

    def __init__(self, memory: int | None) -> None:
        self.pid = 0
        self.status: int | None = None
        self.killed = False
        self._memory = memory
        self._most = 0
        self._kills = _oom_kills()

    def reap(self) -> bool:
        """Take note of those that have ended; whether any others are left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = status
                self._most = usage.ru_maxrss * 1024

    def signal(self, number: int) -> None:
        """Send it to the whole tree."""
        for pid in _below(os.getpid()):
            _kill(pid, number)

    def end(self) -> None:
        """Kill the whole tree, as often as it takes: a process may have a child while we look."""
        deadline = time.monotonic() + _KILL_S
        while self.reap() and time.monotonic() < deadline:
            self.signal(signal.SIGKILL)
            time.sleep(0.001)

    def ending(self) -> str:
        """How the program ended, to be told to the server."""
        if self.status is None:
            return "left"
        code = os.waitstatus_to_exitcode(self.status)
        told = f"signal {-code}" if code < 0 else f"exit {code}"
        return f"{told} oom" if code and not self.killed and self._for_want_of_memory(code) else told

    def _for_want_of_memory(self, code: int) -> bool:
        if code == -signal.SIGKILL and _oom_kills() > self._kills:
            return True
        return self._memory is not None and self._most >= _NEAR * self._memory


def _start(control: int, limits: dict[str, int], program: list[str]) -> int:
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)
        for number in (*_IGNORED, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _limit(limits)
        os.execvp(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _tell(control, f"failed {program[0]}: {error.strerror}")
    finally:
        os._exit(127)


def _limit(limits: dict[str, int]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in limits.items():
        _, hard = resource.getrlimit(_LIMITS[name])
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        grace = 1 if name == "cpu" else 0  # SIGXCPU at the first, SIGKILL at the second
        above = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
        resource.setrlimit(_LIMITS[name], (most, above))


def _let_go_of_streams() -> None:
    """The program alone holds its standard streams, so that their ends are seen."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nothing, fd)
    os.close(nothing)


def _below(pid: int) -> list[int]:
    """All that descend from a process."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in _children(waiting.pop()):
            found.append(child)
            waiting.append(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib takes long to import
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:  # noqa: PTH123 - as above
                children += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):  # it has gone
        pass
    return children


def _oom_kills() -> int:
    """How many processes this system has killed for want of memory."""
    with open("/proc/vmstat", "rb") as file:  # noqa: PTH123 - as above
        for line in file:
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _receive(control: int) -> bytes:
    try:
        return os.read(control, 64)
    except ConnectionError:
        return b""


def _tell(control: int, line: str) -> None:
    try:
        os.write(control, f"{line}\n".encode(errors="replace"))
    except OSError:  # the server is gone
        return


if __name__ == "__main__":
    main(sys.argv[1:])
