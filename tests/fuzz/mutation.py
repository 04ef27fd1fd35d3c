"""Inputs for fuzzing: seeds, changed a little or a lot, all from one random generator."""

from collections.abc import Callable, Sequence
from random import Random

BOUNDARIES = (0, 1, 0x20, 0x2F, 0x3A, 0x5C, 0x7D, 0x7E, 0x7F, 0x80, 0x81, 0x88, 0xC0, 0xED, 0xF4, 0xFE, 0xFF)
MAX_INPUT = 4096

Change = Callable[[bytearray, Random, Sequence[bytes]], None]


def _flip(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(BOUNDARIES)


def _insert(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = random.randbytes(random.randrange(1, 6))


def _delete(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    start, end = _span(data, random)
    del data[start:end]


def _repeat(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    start, end = _span(data, random)
    data[start:start] = data[start:end] * random.choice((1, 2, 3, 70))


def _splice(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    other = random.choice(seeds)
    start, end = _span(other, random)
    at = random.randrange(len(data) + 1)
    data[at:at] = other[start:end]


def _append(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    data += random.choice(seeds)


def _cut(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    del data[random.randrange(len(data) + 1) :]


def _number(data: bytearray, random: Random, seeds: Sequence[bytes]) -> None:
    """Put another number where digits are."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if digits:
        at = random.choice(digits)
        data[at : at + 1] = b"%d" % random.choice((0, 1, 9, 99, 255, 65536, 2**31, 2**53, 2**64, 10**30))


CHANGES: tuple[Change, ...] = (_flip, _set, _insert, _delete, _repeat, _splice, _append, _cut, _number)


def make(random: Random, seeds: Sequence[bytes]) -> bytes:
    """The next input: now and then plain random bytes, else a seed with some changes."""
    if random.random() < 0.05:
        return random.randbytes(random.randrange(64))
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((0, 1, 1, 2, 3, 5, 8))):
        random.choice(CHANGES)(data, random, seeds)
        del data[MAX_INPUT:]
    return bytes(data)


def _span(data: bytes | bytearray, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, 32, 256)))
