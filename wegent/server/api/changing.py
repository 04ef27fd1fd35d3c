"""Changes of a task over REST: its title, its end, what was read, an edited message (protocol §10)."""

from __future__ import annotations

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol.auth import Scope
from wegent.protocol.blocks import App
from wegent.protocol.chat import ChatSendAck
from wegent.protocol.groups import ChangeTask, EditMessage, MarkRead, MarkReadReply
from wegent.protocol.tasks import Success
from wegent.server.api.calls import PREFIX, path_id, principal, protect, read_body, reply
from wegent.server.api.conditions import condition_on, etag
from wegent.server.api.describing import IF_MATCH, describes
from wegent.server.api.tasks import TaskItem, task_item, task_version
from wegent.server.changing import Changing
from wegent.server.editing import Editing


def changing_blueprint(auth: Auth, changing: Changing, editing: Editing) -> Blueprint:
    """`PUT` and `DELETE /tasks/{id}`, `/tasks/{id}/read`, `/tasks/{id}/subtasks/{id}/edit`."""
    blueprint = Blueprint("changing", __name__, url_prefix=f"{PREFIX}/tasks/<task_id>")
    protect(blueprint, auth)

    @blueprint.put("")
    @describes("Rename a task", takes=ChangeTask, answers=TaskItem, query=(IF_MATCH,))
    async def rename(task_id: str) -> TrioResponse:
        asked = path_id(task_id, "task")
        title = (await read_body(ChangeTask)).title
        task = await changing.rename(principal(), asked, title, condition_on(task_version))
        return reply(task_item(task), ETag=etag(task_version(task)))

    @blueprint.delete("")
    @describes("Delete a task; its runs end as CANCELLED", query=(IF_MATCH,))
    async def delete(task_id: str) -> TrioResponse:
        await changing.delete(principal(), path_id(task_id, "task"), condition_on(task_version))
        return reply(Success())

    @blueprint.put("/read")
    @describes("Mark messages as read, up to one", takes=MarkRead, answers=MarkReadReply)
    async def mark_read(task_id: str) -> TrioResponse:
        asked = path_id(task_id, "task")
        message_id = (await read_body(MarkRead)).message_id
        return reply(await changing.read(principal(), asked, message_id))

    @blueprint.post("/subtasks/<subtask_id>/edit")
    @describes(
        "Send a message anew, and remove what came after it",
        takes=EditMessage,
        answers={200: ChatSendAck, 201: ChatSendAck},
    )
    async def edit(task_id: str, subtask_id: str) -> TrioResponse:
        task, row = path_id(task_id, "task"), path_id(subtask_id, "message")
        body = await read_body(EditMessage)
        acks: list[ChatSendAck] = []
        sent = await editing.edit(principal(), task, row, body, ack=acks.append)
        return reply(acks[0], 200 if sent.repeat else 201)

    return blueprint


def app_blueprint(auth: Auth, changing: Changing) -> Blueprint:
    """`POST /tasks/{id}/app`, which the task's runs may call too."""
    blueprint = Blueprint("app", __name__, url_prefix=f"{PREFIX}/tasks")
    protect(blueprint, auth, (Scope.USER, Scope.RUN))

    @blueprint.post("/<task_id>/app")
    @describes("Give a task something to look at", takes=App, answers=TaskItem)
    async def show(task_id: str) -> TrioResponse:
        asked = path_id(task_id, "task")
        return reply(task_item(await changing.show(principal(), asked, await read_body(App))))

    return blueprint
