"""Group chats over REST: who is in them (protocol §10)."""

from __future__ import annotations

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol import groups
from wegent.protocol.groups import Invite, MakeGroup
from wegent.protocol.tasks import Success
from wegent.server.api.calls import PREFIX, path_id, principal, protect, read_body, reply
from wegent.server.api.describing import describes
from wegent.server.members import Members


def members_blueprint(auth: Auth, members: Members) -> Blueprint:
    """`/tasks/{id}/group-chat`, `/tasks/{id}/members` and `/tasks/{id}/leave`."""
    blueprint = Blueprint("members", __name__, url_prefix=f"{PREFIX}/tasks/<task_id>")
    protect(blueprint, auth)

    @blueprint.post("/group-chat")
    @describes("Make a task a group chat", takes=MakeGroup, answers=groups.Members)
    async def make_group(task_id: str) -> TrioResponse:
        asked = path_id(task_id, "task")
        invites = (await read_body(MakeGroup)).members
        changed = await members.make_group(principal(), asked, invites)
        return reply(groups.Members(items=changed.members))

    @blueprint.get("/members")
    @describes("Who is in it, the owner first, all of them", answers=groups.Members)
    async def list_members(task_id: str) -> TrioResponse:
        return reply(groups.Members(items=await members.list(principal(), path_id(task_id, "task"))))

    @blueprint.post("/members")
    @describes("Invite somebody", takes=Invite, answers={200: groups.Members, 201: groups.Members})
    async def add(task_id: str) -> TrioResponse:
        asked = path_id(task_id, "task")
        changed = await members.add(principal(), asked, await read_body(Invite))
        return reply(groups.Members(items=changed.members), 201 if changed.added else 200)

    @blueprint.delete("/members/<user_id>")
    @describes("Put somebody out")
    async def remove(task_id: str, user_id: str) -> TrioResponse:
        await members.remove(principal(), path_id(task_id, "task"), path_id(user_id, "user"))
        return reply(Success())

    @blueprint.post("/leave")
    @describes("Leave a group chat")
    async def leave(task_id: str) -> TrioResponse:
        who = principal()
        await members.remove(who, path_id(task_id, "task"), who.user_id)
        return reply(Success())

    return blueprint
