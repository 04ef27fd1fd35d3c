# ruff: noqa: N815 - the names are those of the protocol
"""Values of a stream: blocks that show tool use, and the app preview (protocol section 4)."""

from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen

from wegent.protocol.fields import COUNT, FILLED, JSON, NAME, TIME
from wegent.protocol.status import BlockStatus


@frozen(kw_only=True)
class Block:
    """One use of a tool, at the content offset `at`; of the versions of an `id` the greatest wins."""

    id: str = field(validator=NAME)
    version: int = field(validator=COUNT)
    at: int = field(validator=COUNT)
    type: Literal["tool"] = "tool"
    tool_name: str = field(validator=NAME)
    tool_input: Any = field(default=None, validator=JSON)
    tool_output: Any = field(default=None, validator=JSON)
    status: BlockStatus
    timestamp: datetime = field(validator=TIME)


@frozen(kw_only=True)
class App:
    """A preview of what a run serves."""

    name: str = field(validator=NAME)
    address: str = field(validator=FILLED)
    previewUrl: str = field(validator=FILLED)
