"""Where the bytes of attachments are kept; what is known of them is in the store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from attrs import frozen


@frozen
class Blob:
    """Bytes that are kept: the name they are found by (at most 255 characters), and how many they are."""

    key: str
    size: int


class Blobs(ABC):
    """Keeps bytes under names that it gives them. What is kept does not change, and is never whole in memory.

    Raises (all): Overloaded: what is behind it does not answer, or is full.
    """

    __slots__ = ()

    @abstractmethod
    async def keep(self, data: AsyncIterable[bytes], *, most: int) -> Blob:
        """Keep what comes, to its end. Cancelled, or if `data` raises: nothing is left behind.

        Raises:
            InvalidPayload: more than `most` bytes came.
        """

    @abstractmethod
    def at_hand(self, key: str) -> AbstractAsyncContextManager[Path]:
        """A file that holds the bytes, for as long as the context lasts; not to be written to.

        Raises:
            NotFound: nothing is kept under that name.
        """

    @abstractmethod
    async def drop(self, key: str) -> None:
        """Forget them; what is not there is forgotten already."""
