"""A run asks the members' clients to do something (protocol sections 3 and 4)."""

from typing import Any

from attrs import field, frozen

from wegent.protocol.fields import JSON, NAME, TEXT


@frozen(kw_only=True)
class SkillRequest:
    """`skill:request`: the first answer wins; without one the asker gets a timeout."""

    request_id: str
    skill_name: str
    action: str
    data: Any


@frozen(kw_only=True)
class SkillResponse:
    """`skill:response`: an answer to `skill:request`."""

    request_id: str = field(validator=NAME)
    success: bool
    result: Any = field(default=None, validator=JSON)
    error: str | None = field(default=None, validator=TEXT)
