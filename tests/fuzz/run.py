"""Fuzz the parsers.

    python -m tests.fuzz.run                          2 seconds in all
    python -m tests.fuzz.run --seconds 600 ws-frames  one target, long
    python -m tests.fuzz.run --replay ws-frames 8180… one input, with its traceback

Ends with 1 at findings; each is printed with the input, cut down to what still shows it, and how to replay it.
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random, SystemRandom
from types import FrameType

from tests.fuzz.mutation import make
from tests.fuzz.targets import TARGETS, Target

HANG = 2.0  # seconds for one input
BATCH = 200  # inputs between looks at the clock


class Hang(BaseException):
    """An input took longer than HANG; no `except Exception` of a parser catches it."""


def attempt(target: Target, data: bytes) -> BaseException | None:
    """What one input raises."""
    try:
        target.run(data)
    except (Hang, Exception) as error:
        return error
    return None


@contextmanager
def watchdog() -> Iterator[Callable[[], None]]:
    """A function to call before each input; without a call for HANG seconds Hang is raised."""

    def bark(signum: int, frame: FrameType | None) -> None:
        raise Hang

    def feed() -> None:
        signal.setitimer(signal.ITIMER_REAL, HANG)

    before = signal.signal(signal.SIGALRM, bark)
    try:
        yield feed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def shrink(target: Target, data: bytes, kind: type[BaseException], feed: Callable[[], None]) -> bytes:
    """Leave out what is not needed to raise the same kind of error; at most some hundred tries."""
    step, tries = max(1, len(data) // 2), 0
    while step and tries < 400 and kind is not Hang:
        for start in range(0, len(data), step):
            shorter = data[:start] + data[start + step :]
            tries += 1
            feed()
            if type(attempt(target, shorter)) is kind:
                data = shorter
                break
        else:
            step //= 2
    return data


def fuzz(name: str, target: Target, random: Random, seconds: float) -> tuple[int, bytes | None]:
    """Feed one target for some time; how many inputs, and the first that is a finding."""
    end, count = time.monotonic() + seconds, 0
    with watchdog() as feed:
        for data in target.seeds:
            feed()
            if attempt(target, data):
                return count, data
        while time.monotonic() < end:
            for _ in range(BATCH):
                data = make(random, target.seeds)
                feed()
                count += 1
                error = attempt(target, data)
                if error is not None:
                    return count, shrink(target, data, type(error), feed)
    return count, None


def show(name: str, target: Target, data: bytes) -> None:
    with watchdog() as feed:
        feed()
        error = attempt(target, data)
    print(f"{name}: {data!r}")
    print(f"  again: python -m tests.fuzz.run --replay {name} {data.hex() or '-'}")
    if error is None:
        print("  it does not show again")
    else:
        print("".join(traceback.format_exception(error)))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Fuzz the parsers.")
    parser.add_argument("names", nargs="*", help=f"targets (default: all of {', '.join(TARGETS)})")
    parser.add_argument("--seconds", type=float, default=2.0, help="for all targets together (default: 2)")
    parser.add_argument("--seed", type=int, help="of an earlier run, to repeat it")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "HEX"), help="run one input")
    options = parser.parse_args(arguments)
    if options.replay:
        name, written = options.replay
        data = bytes.fromhex(written.strip("-"))
        show(name, TARGETS[name], data)
        return int(attempt(TARGETS[name], data) is not None)
    unknown = set(options.names) - set(TARGETS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return fuzz_all(options.names or list(TARGETS), options.seed, options.seconds)


def fuzz_all(names: Sequence[str], seed: int | None, seconds: float) -> int:
    if seed is None:
        seed = SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    findings = 0
    for name in names:
        # One generator a target: its inputs do not depend on how far the others came.
        random = Random(f"{seed} {name}")
        count, data = fuzz(name, TARGETS[name], random, seconds / len(names))
        print(f"{name}: {count} inputs", flush=True)
        if data is not None:
            findings += 1
            show(name, TARGETS[name], data)
    print(f"{findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
