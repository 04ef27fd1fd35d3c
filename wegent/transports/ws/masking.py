"""Masking of frame payloads (RFC 6455 §5.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["apply_mask", "apply_mask_in_python", "fastest"]

Mask: TypeAlias = Callable[[bytes, bytes], bytes]


def apply_mask_in_python(data: bytes, mask: bytes, /) -> bytes:
    """XOR `data` with the four bytes of `mask`, repeated; masks and unmasks alike.

    One XOR of two long integers: linear in the length, some five times slower than C.
    """
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def fastest() -> Mask:
    """The C function of `websockets`, where its wheel has it."""
    try:
        from websockets.speedups import apply_mask as in_c  # noqa: PLC0415 - may be missing
    except ImportError:
        return apply_mask_in_python
    return in_c


apply_mask: Final[Mask] = fastest()
