"""Group chats and changes of tasks over REST."""

from __future__ import annotations

from typing import Any

import pytest

from wegent.protocol.limits import MAX_MEMBERS, MAX_UNREAD


async def group(scene: Any, *names: str, message: str = "hello") -> int:
    """Ada's group chat with these people; nobody is asked for an answer."""
    ack = await scene.new_task(message, is_group_chat=True)
    made = await scene.post(f"/tasks/{ack['task_id']}/group-chat", {"members": [{"user_name": name} for name in names]})
    assert made.status == 200, made.body
    return ack["task_id"]


async def told(answer: Any) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status, answer.json["code"]


async def test_a_task_becomes_a_group_chat_of_the_people_named(scene: Any) -> None:
    task_id = (await scene.new_task())["task_id"]
    body = {"members": [{"user_name": "bob"}, {"user_id": scene.boss.id}]}
    answer = await scene.post(f"/tasks/{task_id}/group-chat", body)
    people = [(each["user_name"], each["role"]) for each in answer.json["items"]]
    assert (answer.status, people) == (200, [("ada", "owner"), ("bob", "member"), ("boss", "member")])
    assert (await scene.get(f"/tasks/{task_id}", token="bob")).json["is_group_chat"] is True
    again = await scene.post(f"/tasks/{task_id}/group-chat", body)
    assert (again.status, again.json) == (200, answer.json)
    assert (await scene.get(f"/tasks/{task_id}/members", token="bob")).json == answer.json


async def test_who_was_added_finds_the_task_and_who_was_removed_does_not(scene: Any) -> None:
    task_id = await group(scene)
    assert (await scene.get(f"/tasks/{task_id}", token="bob")).status == 403
    assert (await scene.post(f"/tasks/{task_id}/members", {"user_id": scene.bob.id})).status == 201
    assert (await scene.post(f"/tasks/{task_id}/members", {"user_name": "bob"})).status == 200
    listed = (await scene.get("/tasks", token="bob")).json["items"]
    assert [(each["id"], each["unread"]) for each in listed] == [(task_id, 0)]
    said = await scene.post(f"/tasks/{task_id}/messages", {"message": "hi all"}, token="bob")
    assert (said.status, said.json["assistant_subtask_id"]) == (201, None)
    gone = await scene.call("DELETE", f"/api/v1/tasks/{task_id}/members/{scene.bob.id}")
    assert (gone.status, gone.json) == (200, {"success": True})
    assert (await scene.get(f"/tasks/{task_id}", token="bob")).status == 403
    assert (await scene.get("/tasks", token="bob")).json["items"] == []
    assert (await scene.post(f"/tasks/{task_id}/messages", {"message": "and"}, token="bob")).status == 403


async def test_members_leave_and_the_owner_cannot(scene: Any) -> None:
    task_id = await group(scene, "bob")
    assert (await scene.post(f"/tasks/{task_id}/leave", token="bob")).status == 200
    assert (await scene.post(f"/tasks/{task_id}/leave", token="bob")).status == 403
    assert await told(await scene.post(f"/tasks/{task_id}/leave")) == (409, "CONFLICT")


async def test_only_the_owner_adds_removes_renames_and_deletes(scene: Any) -> None:
    task_id = await group(scene, "bob", "boss")
    path = f"/api/v1/tasks/{task_id}"
    for method, below, body in (
        ("POST", "/group-chat", {}),
        ("POST", "/members", {"user_name": "boss"}),
        ("DELETE", f"/members/{scene.boss.id}", None),
        ("DELETE", f"/members/{scene.ada.id}", None),
        ("PUT", "", {"title": "Mine"}),
        ("DELETE", "", None),
    ):
        answer = await scene.call(method, path + below, body=body, token="bob")
        assert await told(answer) == (403, "ACCESS_DENIED"), (method, below)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "INVALID_PAYLOAD")),
        ({"user_id": 1, "user_name": "bob"}, (400, "INVALID_PAYLOAD")),
        ({"user_id": "bob"}, (400, "INVALID_PAYLOAD")),
        ({"user_name": "nobody"}, (404, "NOT_FOUND")),
        ({"user_id": 2**53 - 1}, (404, "NOT_FOUND")),
    ],
)
async def test_an_invitation_names_somebody_who_is_there(scene: Any, body: Any, expected: Any) -> None:
    task_id = await group(scene)
    assert await told(await scene.post(f"/tasks/{task_id}/members", body)) == expected


async def test_a_task_that_is_no_group_chat_takes_no_members(scene: Any) -> None:
    task_id = (await scene.new_task())["task_id"]
    assert await told(await scene.post(f"/tasks/{task_id}/members", {"user_name": "bob"})) == (409, "CONFLICT")
    assert await told(await scene.call("DELETE", f"/api/v1/tasks/{task_id}/members/{scene.bob.id}")) == (
        404,
        "NOT_FOUND",
    )


async def test_a_group_chat_has_only_so_many_people(scene: Any) -> None:
    task_id = await group(scene, "bob")
    many = await scene.store.write(
        lambda unit: [unit.add_user(f"user{n}", password_hash=None).id for n in range(MAX_MEMBERS - 1)]
    )
    body = {"members": [{"user_id": each} for each in many]}
    assert await told(await scene.post(f"/tasks/{task_id}/group-chat", body)) == (409, "CONFLICT")
    body["members"].pop()
    answer = await scene.post(f"/tasks/{task_id}/group-chat", body)
    assert (answer.status, len(answer.json["items"])) == (200, MAX_MEMBERS)


async def test_unread_is_what_others_said_since_one_read_or_spoke(scene: Any) -> None:
    task_id = await group(scene, "bob")

    async def unread(name: str) -> int:
        one = (await scene.get(f"/tasks/{task_id}", token=name)).json["unread"]
        assert [each["unread"] for each in (await scene.get("/tasks", token=name)).json["items"]] == [one]
        return one

    async def say(name: str) -> None:
        assert (await scene.post(f"/tasks/{task_id}/messages", {"message": "x"}, token=name)).status == 201

    async def read(name: str, message_id: int) -> tuple[int, int]:
        answer = await scene.call("PUT", f"/api/v1/tasks/{task_id}/read", body={"message_id": message_id}, token=name)
        return answer.json["message_id"], answer.json["unread"]

    await say("ada")
    await say("ada")
    assert (await unread("ada"), await unread("bob")) == (0, 2)
    await say("bob")
    assert (await unread("ada"), await unread("bob")) == (1, 0)
    assert await read("ada", 3) == (3, 1)
    assert await read("ada", 10**6) == (4, 0)
    assert await read("ada", 1) == (4, 0)
    assert await unread("ada") == 0


async def test_unread_is_counted_up_to_a_limit(scene: Any) -> None:
    task_id = await group(scene, "bob")

    def talk(unit: Any) -> None:
        task = unit.touch(task_id, messages=MAX_UNREAD + 5)
        for number in range(MAX_UNREAD + 5):
            unit.add_subtask(
                task=task, message_id=2 + number, role="USER", sender_id=scene.ada.id, status="COMPLETED", prompt="x"
            )

    await scene.store.write(talk)
    assert (await scene.get(f"/tasks/{task_id}", token="bob")).json["unread"] == MAX_UNREAD


async def test_of_a_task_of_one_s_own_unread_counts_from_the_first_mark_on(scene: Any) -> None:
    ack = await scene.new_task()
    assert "unread" not in (await scene.get(f"/tasks/{ack['task_id']}")).json
    path = f"/api/v1/tasks/{ack['task_id']}/read"
    answer = await scene.call("PUT", path, body={"message_id": ack["message_id"]})
    assert answer.json == {"message_id": 1, "unread": 1}
    assert (await scene.call("PUT", path, body={"message_id": 2})).json == {"message_id": 2, "unread": 0}
    assert (await scene.get("/tasks")).json["items"][0]["unread"] == 0
    assert (await scene.get("/tasks", token="bob")).json["items"] == []
    assert (await scene.call("PUT", path, body={"message_id": 2}, token="bob")).status == 403


async def test_a_task_gets_another_title(scene: Any) -> None:
    task_id = (await scene.new_task())["task_id"]
    answer = await scene.call("PUT", f"/api/v1/tasks/{task_id}", body={"title": "Über Äpfel"})
    assert (answer.status, answer.json["title"]) == (200, "Über Äpfel")
    assert [each["id"] for each in (await scene.get("/tasks?q=%C3%A4pfel")).json["items"]] == [task_id]
    for wrong in ({}, {"title": ""}, {"title": "x" * 256}, {"title": 5}):
        assert (await scene.call("PUT", f"/api/v1/tasks/{task_id}", body=wrong)).status == 400


async def test_a_deleted_task_is_gone_for_everybody_and_its_run_is_stopped(scene: Any) -> None:
    task_id = await group(scene, "bob")
    ack = (await scene.post(f"/tasks/{task_id}/messages", {"message": "@assistant go"})).json
    await scene.change_row(ack["assistant_subtask_id"], status="RUNNING", owner="worker", lease="l")
    answer = await scene.call("DELETE", f"/api/v1/tasks/{task_id}")
    assert (answer.status, answer.json) == (200, {"success": True})
    assert scene.stopped == [(ack["assistant_subtask_id"], 1)]
    row = await scene.store.read(lambda unit: unit.subtask(ack["assistant_subtask_id"]))
    assert (row.status, row.owner) == ("CANCELLED", None)
    for name in ("ada", "bob"):
        assert (await scene.get("/tasks", token=name)).json["items"] == []
        assert (await scene.get(f"/tasks/{task_id}", token=name)).status == 404
        answer = await scene.post(f"/tasks/{task_id}/messages", {"message": "?", "team_id": scene.team_id}, token=name)
        assert answer.status == 404
    assert (await scene.call("DELETE", f"/api/v1/tasks/{task_id}")).status == 404


# edited messages


async def test_an_edited_message_takes_the_place_of_all_that_came_after_it(scene: Any) -> None:
    first = await scene.new_task("one", enable_web_search=True, contexts=[{"type": "text", "title": "t", "text": "x"}])
    task_id = first["task_id"]
    await scene.change_row(first["assistant_subtask_id"], status="COMPLETED", content="1")
    second = (await scene.post(f"/tasks/{task_id}/messages", {"message": "two"})).json
    await scene.change_row(second["assistant_subtask_id"], status="FAILED", error_message="no")
    path = f"/tasks/{task_id}/subtasks/{first['subtask_id']}/edit"
    answer = await scene.post(path, {"message": "uno", "client_message_id": "c1"})
    assert (answer.status, answer.json["message_id"]) == (201, 5)
    rows = (await scene.get(f"/tasks/{task_id}/subtasks")).json["subtasks"]
    assert [(row["message_id"], row["prompt"], row["status"]) for row in rows] == [
        (5, "uno", "COMPLETED"),
        (6, "", "PENDING"),
    ]
    assert rows[0]["contexts"] == [{"type": "text", "title": "t", "text": "x"}]
    made = await scene.store.read(lambda unit: unit.subtask(answer.json["assistant_subtask_id"]))
    assert made.options["web_search"] is True
    again = await scene.post(path, {"message": "uno", "client_message_id": "c1"})
    assert (again.status, again.json) == (200, answer.json)
    assert (await scene.post(path, {"message": "eins"})).status == 404


async def test_nothing_is_edited_during_a_run(scene: Any) -> None:
    ack = await scene.new_task("one")
    path = f"/tasks/{ack['task_id']}/subtasks/{ack['subtask_id']}/edit"
    assert await told(await scene.post(path, {"message": "uno"})) == (409, "CONFLICT")
    rows = (await scene.get(f"/tasks/{ack['task_id']}/subtasks")).json["subtasks"]
    assert [row["prompt"] for row in rows] == ["one", ""]


async def test_messages_are_edited_by_their_senders_and_those_of_others_stay(scene: Any) -> None:
    task_id = await group(scene, "bob")

    async def say(name: str, text: str) -> int:
        answer = await scene.post(f"/tasks/{task_id}/messages", {"message": text}, token=name)
        return answer.json["subtask_id"]

    async def edit(name: str, row: int, text: str) -> int:
        answer = await scene.post(f"/tasks/{task_id}/subtasks/{row}/edit", {"message": text}, token=name)
        return answer.status

    of_ada, of_bob = await say("ada", "a"), await say("bob", "b")
    assert await edit("ada", of_bob, "x") == 403
    assert await edit("bob", of_ada, "x") == 403
    assert await edit("bob", of_bob, "b2") == 201
    again = await say("bob", "b3")
    await say("ada", "a2")
    assert await edit("bob", again, "x") == 403
    assert await edit("ada", of_ada, "a3") == 201
    rows = (await scene.get(f"/tasks/{task_id}/subtasks", token="bob")).json["subtasks"]
    assert [row["prompt"] for row in rows] == ["hello", "a3"]


@pytest.mark.parametrize("body", [{}, {"message": ""}, {"message": "  "}, {"message": 3}, {"message": "a\0"}])
async def test_an_edit_says_something(scene: Any, body: Any) -> None:
    ack = await scene.new_task("one")
    await scene.change_row(ack["assistant_subtask_id"], status="COMPLETED")
    answer = await scene.post(f"/tasks/{ack['task_id']}/subtasks/{ack['subtask_id']}/edit", body)
    assert await told(answer) == (400, "INVALID_PAYLOAD")


async def test_only_a_message_of_that_task_is_edited(scene: Any) -> None:
    one, other = await scene.new_task("one"), await scene.new_task("two")
    for ack in (one, other):
        await scene.change_row(ack["assistant_subtask_id"], status="COMPLETED")
    for row in (other["subtask_id"], one["assistant_subtask_id"], 10**9):
        answer = await scene.post(f"/tasks/{one['task_id']}/subtasks/{row}/edit", {"message": "x"})
        assert await told(answer) == (404, "NOT_FOUND")
