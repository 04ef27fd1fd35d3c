"""The `/chat` namespace: what people ask, event by event (protocol §3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any, TypeVar

from attrs import frozen

from wegent.codec import CodecError
from wegent.codec import convert as codec_convert
from wegent.core.errors import AccessDenied, InvalidPayload
from wegent.core.model import Principal
from wegent.core.namespaces import Ack, Namespace
from wegent.core.ports.auth import Auth
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session
from wegent.protocol.auth import AuthRefresh, AuthRefreshAck, Scope
from wegent.protocol.chat import ChatCancel, ChatResume, ChatRetry, ChatSend
from wegent.protocol.skills import SkillResponse
from wegent.protocol.tasks import HistorySync, HistorySyncAck, Success, TaskJoin, TaskLeave
from wegent.server.joining import Joining
from wegent.server.retrying import Retrying
from wegent.server.sending import Sending
from wegent.server.skills import Skills
from wegent.server.stopping import Cancelling
from wegent.server.telling import CHAT, task_room, user_room

T = TypeVar("T")
SCOPES = (Scope.USER,)


def convert(data: Any, kind: type[T]) -> T:
    """JSON data as a payload.

    Raises:
        InvalidPayload: it is not one; the sentence says what would be.
    """
    try:
        return codec_convert({} if data is None else data, kind)
    except CodecError as error:
        raise InvalidPayload(error.sentence) from error


@frozen
class ChatServices:
    """What the handlers call."""

    auth: Auth
    rooms: Rooms
    sending: Sending
    joining: Joining
    cancelling: Cancelling
    retrying: Retrying
    skills: Skills


def chat_namespace(services: ChatServices) -> Namespace:
    """The namespace with all of its handlers."""
    check = authenticator(services.auth)

    async def authenticate(payload: Any) -> Principal:
        principal = await check(payload)
        await services.rooms.follow(
            user_room(principal.user_id)
        )  # so that the session misses nothing from its first moment
        return principal

    chat = Namespace(CHAT, convert=convert, authenticate=authenticate)

    @chat.connected
    def connected(session: Session) -> None:
        services.rooms.enter(session, user_room(session.principal.user_id))

    @chat.on("chat:send", lane=lambda payload: payload.task_id)
    async def send(session: Session, payload: ChatSend, ack: Ack) -> None:
        await services.sending.send(session.principal, payload, ack=ack, session=session)

    @chat.on("chat:cancel", urgent=True)
    async def cancel(session: Session, payload: ChatCancel, ack: Ack) -> None:
        await services.cancelling.cancel(session.principal, payload.subtask_id, ack=ack)

    @chat.on("chat:retry", lane=lambda payload: payload.task_id)
    async def retry(session: Session, payload: ChatRetry, ack: Ack) -> None:
        await services.retrying.retry(session.principal, payload, ack=ack)

    @chat.on("chat:resume", lane=lambda payload: payload.task_id)
    async def resume(session: Session, payload: ChatResume, ack: Ack) -> None:
        await services.joining.resume(session, payload, ack)

    @chat.on("task:join", lane=lambda payload: payload.task_id)
    async def join(session: Session, payload: TaskJoin, ack: Ack) -> None:
        await services.joining.join(session, payload, ack)

    @chat.on("task:leave", lane=lambda payload: payload.task_id)
    async def leave(session: Session, payload: TaskLeave) -> Success:
        services.rooms.leave(session, task_room(payload.task_id))
        return Success()

    @chat.on("history:sync", lane=lambda payload: payload.task_id)
    async def history(session: Session, payload: HistorySync) -> HistorySyncAck:
        return await services.joining.history(session.principal, payload)

    @chat.on("skill:response", urgent=True)
    async def skill_response(session: Session, payload: SkillResponse) -> Success:
        await services.skills.respond(session.principal, payload)
        return Success()

    @chat.on("auth:refresh", urgent=True)
    async def refresh(session: Session, payload: AuthRefresh) -> AuthRefreshAck:
        return await refresh_session(services.auth, session, payload, SCOPES)

    return chat


def authenticator(auth: Auth, scopes: Collection[str] = SCOPES) -> Callable[[Any], Awaitable[Principal]]:
    """Who connects, by the `token` of what came with the connection."""

    async def check(payload: Any) -> Principal:
        token = payload.get("token") if isinstance(payload, dict) else None
        return await auth.authenticate(token if isinstance(token, str) else None, scopes)

    return check


async def refresh_session(
    auth: Auth,
    session: Session,
    payload: AuthRefresh,
    scopes: Collection[str],
    permit: Callable[[Session, Principal], None] | None = None,
) -> AuthRefreshAck:
    """`auth:refresh`: the session goes on with another token of its user; `permit` may raise where that won't do.

    Raises:
        NotAuthenticated, AccessDenied: the token is no good, or somebody else's, or good for something else.
    """
    principal = await auth.authenticate(payload.token, scopes)
    if principal.user_id != session.principal.user_id:
        message = "the new token is somebody else's"
        raise AccessDenied(message)
    if permit is not None:
        permit(session, principal)
    session.principal = principal
    session.expire_at(principal.expires_at)
    assert principal.expires_at is not None
    return AuthRefreshAck(expires_at=datetime.fromtimestamp(principal.expires_at, UTC))
