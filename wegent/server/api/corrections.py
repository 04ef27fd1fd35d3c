"""Corrections over REST (protocol §10)."""

from __future__ import annotations

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol.chat import ChatRetryAck
from wegent.protocol.correction import CorrectAccepted, CorrectionItem, CorrectRequest
from wegent.protocol.tasks import Success
from wegent.server.api.calls import PREFIX, path_id, principal, protect, read_body, reply
from wegent.server.api.describing import describes
from wegent.server.corrections import Corrections


def corrections_blueprint(corrections: Corrections, auth: Auth) -> list[Blueprint]:
    """`POST /chat/correct`, and what is below `/subtasks/{id}/correction`."""
    asking = Blueprint("correct", __name__, url_prefix=f"{PREFIX}/chat")
    kept = Blueprint("corrections", __name__, url_prefix=f"{PREFIX}/subtasks")
    protect(asking, auth)
    protect(kept, auth)

    @asking.post("/correct")
    @describes("Have a second model check an answer", takes=CorrectRequest, answers={202: CorrectAccepted})
    async def correct() -> TrioResponse:
        return reply(await corrections.start(principal(), await read_body(CorrectRequest)), 202)

    @kept.get("/<subtask_id>/correction")
    @describes("What was found", answers=CorrectionItem)
    async def one(subtask_id: str) -> TrioResponse:
        return reply(await corrections.get(principal(), path_id(subtask_id, "answer")))

    @kept.delete("/<subtask_id>/correction")
    @describes("Drop it")
    async def delete(subtask_id: str) -> TrioResponse:
        await corrections.delete(principal(), path_id(subtask_id, "answer"))
        return reply(Success())

    @kept.post("/<subtask_id>/correction/apply")
    @describes("Put it in the answer's place", answers=ChatRetryAck)
    async def apply(subtask_id: str) -> TrioResponse:
        return reply(ChatRetryAck(attempt=await corrections.apply(principal(), path_id(subtask_id, "answer"))))

    return [asking, kept]
