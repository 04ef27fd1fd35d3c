"""What goes with a message for the model to read, and a plugin has to look up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from attrs import field, frozen

from wegent.core.model import Principal
from wegent.protocol.chat import Context


@frozen
class Provided:
    """What a model is given, under a title; it is kept with the message, and its viewers see it.

    `fields` are kept and shown beside it, as JSON can say them; `text` has at most `MOST` code points.
    """

    MOST: ClassVar[int] = 100_000

    title: str
    text: str
    fields: dict[str, Any] = field(factory=dict)


class ContextProvider(ABC):
    """Provides contexts of one type of `chat:send`; the name it is brought by is that type."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    async def provide(self, principal: Principal, context: Context, message: str) -> Provided:
        """What the model should read of it, for that message. Nothing is committed yet.

        `context` is as the client sent it: a class of `wegent.protocol.chat`, `OtherContext` for types of a plugin's.

        Raises:
            NotFound, AccessDenied: it is not there, or not for them.
            InvalidPayload: it is not as it should be.
        """
