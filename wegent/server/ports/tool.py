"""What a model may use while it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from attrs import field, frozen

from wegent.core.errors import RunFailed
from wegent.protocol.chat_shell import ToolDefinition

Report = Callable[[Any], Awaitable[None]]
"""Shows viewers what a tool has put out so far; any JSON."""


@frozen(kw_only=True)
class Asked:
    """For whom an answer is, and what it may use. `mcp_servers` is the Ghost's, with secrets in it."""

    user_id: int
    user_name: str
    task_id: int
    subtask_id: int
    deep_thinking: bool = False
    web_search: bool = False
    mcp_servers: Mapping[str, Any] = field(factory=dict, repr=False)


class ToolFailed(RunFailed):
    """A tool could not do it. The sentence goes to the model and the viewers; the run goes on."""


class Tool(ABC):
    """Something that a model may use. One instance serves many answers side by side.

    `use` gets the arguments as the model wrote them: an object, in no way checked against the definition's schema. It
    returns any JSON; of long output the model sees the beginning only. Cancelled, also when it takes too long: stop,
    then let Cancelled go on.

    Raises (from `use`):
        ToolFailed: with a sentence for the model, which may try something else.
    """

    __slots__ = ()
    many: ClassVar[bool] = True

    @property
    @abstractmethod
    def definition(self) -> ToolDefinition:
        """What the model is told of it."""

    @abstractmethod
    async def use(self, arguments: Mapping[str, Any], asked: Asked, report: Report) -> Any:
        """Do it."""


class ToolSource(ABC):
    """Brings tools for one answer, which live no longer than it."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    def open(self, asked: Asked) -> AbstractAsyncContextManager[Sequence[Tool]]:
        """The tools for an answer; what they need is closed on leaving, in the same task.

        What the body raises goes through as it is, in no group.

        Raises:
            RunFailed: they can't be had, and the answer must not be given without them.
        """
