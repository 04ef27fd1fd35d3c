"""What it means to a run that its runner ended without `done` or `error` (protocol §7.2)."""

from __future__ import annotations

import signal

from attrs import frozen

from wegent.core.errors import RunFailed


@frozen
class Exit:
    """How a process ended: with a code, or by a signal, or by one that a code tells of; `out_of_memory` as far as can
    be told.
    """

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False


def without_a_word(how: Exit, runner: str = "runner") -> RunFailed:
    """The error for a runner that ended so; `runner` names it in the sentence."""
    if how.out_of_memory:
        return RunFailed(f"The {runner} needed more memory than it may have ({_ended(how)}).", type="out_of_memory")
    if how.signal == signal.SIGXCPU:
        return RunFailed(f"The {runner} used all the CPU time that it may have.", type="timeout")
    if how.signal == signal.SIGXFSZ:
        return RunFailed(f"The {runner} wrote a file that is larger than it may be.", type="output_limit")
    if how.signal is not None:
        return RunFailed(f"The {runner} was {_ended(how)}.", type="killed")
    return RunFailed(f"The {runner} ended ({_ended(how)}) without saying `done` or `error`.", type="runner_exit")


def _ended(how: Exit) -> str:
    code = f"exit code {how.code}"
    if how.signal is None:
        return code
    killed = f"killed by {signal_name(how.signal)}"
    return killed if how.code is None else f"{killed}, {code}"


def signal_name(number: int) -> str:
    """SIGKILL, SIGSEGV, …; a number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
