"""Tasks over REST."""

from __future__ import annotations

from typing import Any

import pytest

from wegent.core.model import StreamId
from wegent.server.records import SavedPart

HUGE = 2**53


async def test_a_task_is_made_as_by_chat_send(scene: Any) -> None:
    answer = await scene.post("/tasks", {"team_id": scene.team_id, "message": "Hello, 世界 🌍"})
    assert answer.status == 201
    ack = answer.json
    assert set(ack) == {"task_id", "subtask_id", "message_id", "assistant_subtask_id"}
    assert answer.headers["Location"] == f"/api/v1/tasks/{ack['task_id']}"
    assert scene.nudged == [ack["assistant_subtask_id"]]
    task = (await scene.get(f"/tasks/{ack['task_id']}")).json
    assert (task["title"], task["status"], task["owner_id"]) == ("Hello, 世界 🌍", "PENDING", scene.ada.id)
    assert [row["role"] for row in task["subtasks"]] == ["USER", "ASSISTANT"]
    assert task["subtasks"][0]["prompt"] == "Hello, 世界 🌍"
    assert task["subtasks"][0]["sender"] == {"user_id": scene.ada.id, "user_name": "ada"}
    assert task["has_more"] is False


async def test_a_message_goes_on_with_the_tasks_own_team(scene: Any) -> None:
    ack = await scene.new_task()
    await scene.change_row(ack["assistant_subtask_id"], status="COMPLETED", content="Hi!")
    answer = await scene.post(f"/tasks/{ack['task_id']}/messages", {"message": "more"})
    assert (answer.status, answer.json["message_id"]) == (201, 3)
    rows = (await scene.get(f"/tasks/{ack['task_id']}/subtasks")).json["subtasks"]
    assert [row["message_id"] for row in rows] == [1, 2, 3, 4]
    assert rows[1]["result"]["value"] == "Hi!"


async def test_the_same_message_sent_again_is_told_as_before(scene: Any) -> None:
    first = await scene.new_task(client_message_id="m1")
    again = await scene.post("/tasks", {"team_id": scene.team_id, "message": "hello", "client_message_id": "m1"})
    assert (again.status, again.json) == (200, first)


async def test_a_second_message_during_a_run_is_task_running(scene: Any) -> None:
    ack = await scene.new_task()
    answer = await scene.post(f"/tasks/{ack['task_id']}/messages", {"message": "more"})
    assert (answer.status, answer.json["code"]) == (409, "TASK_RUNNING")


async def test_the_task_of_a_path_counts_over_the_bodys(scene: Any) -> None:
    mine, other = await scene.new_task(), await scene.new_task(token="bob")
    body = {"message": "more", "task_id": other["task_id"], "if_running": "queue"}
    answer = await scene.post(f"/tasks/{mine['task_id']}/messages", body)
    assert answer.json["task_id"] == mine["task_id"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "team_id"),
        ({"team_id": 1}, "message"),
        ({"team_id": "1", "message": "x"}, "team_id"),
        ({"team_id": 0, "message": "x"}, "team_id"),
        ({"team_id": HUGE, "message": "x"}, "team_id"),
        ({"team_id": True, "message": "x"}, "team_id"),
        ({"team_id": 1, "message": 5}, "message"),
        ({"team_id": 1, "message": "  \n"}, "message"),
        ({"team_id": 1, "message": "a\x00b"}, "message"),
        ({"team_id": 1, "message": "x", "title": "t" * 300}, "title"),
        ({"team_id": 1, "message": "x", "client_message_id": "c" * 65}, "client_message_id"),
        ({"team_id": 1, "message": "x", "if_running": "maybe"}, "reject"),
        ({"team_id": 1, "message": "x", "contexts": [{"type": "strange"}]}, "contexts"),
        ({"team_id": 1, "message": "x", "contexts": "text"}, "contexts"),
        ({"team_id": 1, "message": "x", "task_id": 1}, "task_id"),
        ({"team_id": 1, "message": "x", "device_id": "d" * 101}, "device_id"),
    ],
)
async def test_a_wrong_field_is_named(scene: Any, body: dict[str, Any], word: str) -> None:
    answer = await scene.post("/tasks", body)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert word in answer.json["error"]


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b'"text"',
        b"5",
        b"\xff\xfe",
        b'{"team_id": 1, "message": "\\ud83d"}',
        b'{"team_id": 1e999, "message": "x"}',
        b'{"team_id": ' + b"9" * 5_000 + b', "message": "x"}',
        b"[" * 100_000,
        b'{"team_id":1,"message":"x","contexts":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b"team_id=1&message=x",
        b"\x1f\x8b\x08\x00",
    ],
)
async def test_a_body_that_is_no_object_is_refused(scene: Any, data: bytes) -> None:
    answer = await scene.call("POST", "/api/v1/tasks", data=data, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert len(answer.body) < 1_000


async def test_a_body_over_the_limit_is_refused(scene: Any) -> None:
    body = {"team_id": scene.team_id, "message": "x" * 1_000_000}
    answer = await scene.post("/tasks", body)
    assert (answer.status, answer.json["code"]) == (413, "INVALID_PAYLOAD")


@pytest.mark.parametrize("task_id", ["0", "-1", "abc", "1.5", "9" * 5_000, str(HUGE), "٣", "1%00", "%F0%9F", " 1"])
@pytest.mark.parametrize("rest", ["", "/subtasks"])
async def test_what_is_no_id_is_not_found(scene: Any, task_id: str, rest: str) -> None:
    answer = await scene.get(f"/tasks/{task_id}{rest}")
    assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("GET", "", None),
        ("GET", "/subtasks", None),
        ("POST", "/messages", {"message": "x"}),
        ("POST", "/cancel", {}),
        ("POST", "/cancel", {"subtask_id": 2}),
    ],
)
async def test_a_task_of_somebody_else_is_denied(scene: Any, method: str, rest: str, body: Any) -> None:
    ack = await scene.new_task("a secret")
    answer = await scene.call(method, f"/api/v1/tasks/{ack['task_id']}{rest}", body=body, token="bob")
    assert (answer.status, answer.json["code"]) == (403, "ACCESS_DENIED")
    assert b"secret" not in answer.body
    missing = await scene.call(method, f"/api/v1/tasks/{ack['task_id'] + 50}{rest}", body=body, token="bob")
    assert (missing.status, missing.json["code"]) == (404, "NOT_FOUND")


async def test_a_deleted_task_is_not_found(scene: Any) -> None:
    ack = await scene.new_task()
    await scene.store.write(lambda unit: unit.update_task(ack["task_id"], deleted=True))
    assert (await scene.get(f"/tasks/{ack['task_id']}")).status == 404
    assert (await scene.get("/tasks")).json == {"items": []}


# lists


async def test_tasks_are_listed_page_by_page_newest_first(scene: Any) -> None:
    made = [(await scene.new_task(f"task {n}"))["task_id"] for n in range(7)]
    await scene.new_task("somebody else's", token="bob")
    listed, path = [], "/tasks?limit=3"
    for _ in range(3):
        page = (await scene.get(path)).json
        listed += [item["id"] for item in page["items"]]
        path = f"/tasks?limit=3&cursor={page.get('next_cursor', '')}"
    assert listed == made[::-1]
    assert "next_cursor" not in page
    item = page["items"][0]
    assert {"id", "title", "status", "progress", "revision", "team_id", "team_name", "updated_at"} <= item.keys()


async def test_a_page_that_is_just_full_has_no_next(scene: Any) -> None:
    for n in range(3):
        await scene.new_task(f"task {n}")
    assert "next_cursor" not in (await scene.get("/tasks?limit=3")).json


async def test_tasks_are_found_by_status_and_title(scene: Any) -> None:
    done, _ = await scene.new_task("100% Done"), await scene.new_task("waiting")
    await scene.store.write(lambda unit: unit.update_task(done["task_id"], status="COMPLETED"))
    for search in ("status=COMPLETED", "status=completed", "q=100%25", "q=dONE", "q=0%25+d&status=COMPLETED"):
        items = (await scene.get(f"/tasks?{search}")).json["items"]
        assert [item["id"] for item in items] == [done["task_id"]], search
    assert (await scene.get("/tasks?q=nothing")).json == {"items": []}


@pytest.mark.parametrize(
    "search",
    [
        "limit=0",
        "limit=201",
        "limit=-5",
        "limit=ten",
        "limit=1&limit=2",
        "limit=" + "9" * 900,
        "limit=%D9%A3",
        "status=DONE",
        "q=%00",
        "q=" + "x" * 1_001,
        "cursor=nonsense",
        "cursor=!!!",
        "cursor=%F0%9F%8C%8D",
        "cursor=W10",
        "cursor=WzFd",
        "cursor=WyJhIiwxXQ",
        "cursor=WzkwMDAwMDAwMDAwMDAwMDAwMDAsMV0",
        "cursor=" + "W" * 900,
    ],
)
async def test_a_wrong_parameter_is_named(scene: Any, search: str) -> None:
    answer = await scene.get(f"/tasks?{search}")
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert f"`{search.partition('=')[0]}`" in answer.json["error"]


# rows


async def test_rows_come_in_pages_either_way(scene: Any) -> None:
    ack = await scene.new_task("message 1")
    for n in range(2, 13):
        body = {"message": f"message {n}", "if_running": "queue"}
        await scene.post(f"/tasks/{ack['task_id']}/messages", body)

    async def ids(search: str) -> tuple[list[int], bool]:
        page = (await scene.get(f"/tasks/{ack['task_id']}/subtasks?{search}")).json
        return [row["message_id"] for row in page["subtasks"]], page["has_more"]

    assert await ids("") == (list(range(1, 25)), False)
    assert await ids("limit=24") == (list(range(1, 25)), False)
    assert await ids("limit=9") == (list(range(16, 25)), True)
    assert await ids("limit=9&before_message_id=10") == (list(range(1, 10)), False)
    assert await ids("limit=9&after_message_id=3") == (list(range(4, 13)), True)
    assert await ids("after_message_id=24") == ([], False)


async def test_a_long_answer_comes_whole_and_ends_its_page(scene: Any) -> None:
    ack = await scene.new_task()
    text = "界" * 3_000_000
    await scene.change_row(ack["assistant_subtask_id"], status="COMPLETED", content=text, thinking=text)
    for _ in range(2):
        more = (await scene.post(f"/tasks/{ack['task_id']}/messages", {"message": "more"})).json
        await scene.change_row(more["assistant_subtask_id"], status="COMPLETED", content=text)
    page = (await scene.get(f"/tasks/{ack['task_id']}")).json
    assert [row["message_id"] for row in page["subtasks"]] == [3, 4, 5, 6]
    assert page["has_more"] is True
    earlier = (await scene.get(f"/tasks/{ack['task_id']}?before_message_id=3")).json
    result = earlier["subtasks"][1]["result"]
    assert result["value"] == result["thinking"] == text
    assert "truncated" not in result


async def test_a_running_answer_shows_what_was_saved_of_it(scene: Any) -> None:
    ack = await scene.new_task()
    subtask_id = ack["assistant_subtask_id"]
    await scene.change_row(subtask_id, status="RUNNING")
    stream = StreamId(ack["task_id"], subtask_id, 1)
    parts = [SavedPart(stream, "content", 0, "so "), SavedPart(stream, "content", 3, "far")]
    await scene.store.write(lambda unit: unit.save_parts(parts))
    task = (await scene.get(f"/tasks/{ack['task_id']}")).json
    assert task["subtasks"][1]["result"]["value"] == "so far"


# cancelling


async def test_the_run_under_way_is_cancelled(scene: Any) -> None:
    ack = await scene.new_task()
    await scene.post(f"/tasks/{ack['task_id']}/messages", {"message": "more", "if_running": "queue"})
    await scene.change_row(ack["assistant_subtask_id"], status="RUNNING")
    answer = await scene.post(f"/tasks/{ack['task_id']}/cancel")
    assert (answer.status, answer.json) == (200, {"status": "CANCELLING", "success": True})
    assert scene.stopped == [(ack["assistant_subtask_id"], 1)]


async def test_a_run_named_is_cancelled(scene: Any) -> None:
    ack = await scene.new_task()
    answer = await scene.post(f"/tasks/{ack['task_id']}/cancel", {"subtask_id": ack["assistant_subtask_id"]})
    assert answer.json == {"status": "CANCELLED", "success": True}
    again = await scene.post(f"/tasks/{ack['task_id']}/cancel", {"subtask_id": ack["assistant_subtask_id"]})
    assert (again.status, again.json["code"]) == (409, "CONFLICT")


async def test_without_a_run_there_is_nothing_to_cancel(scene: Any) -> None:
    ack = await scene.new_task()
    await scene.change_row(ack["assistant_subtask_id"], status="COMPLETED")
    answer = await scene.post(f"/tasks/{ack['task_id']}/cancel", {"subtask_id": None})
    assert (answer.status, answer.json["code"]) == (409, "CONFLICT")


async def test_a_run_of_another_task_is_not_cancelled(scene: Any) -> None:
    mine, other = await scene.new_task(), await scene.new_task()
    answer = await scene.post(f"/tasks/{mine['task_id']}/cancel", {"subtask_id": other["assistant_subtask_id"]})
    assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")
    message = await scene.post(f"/tasks/{mine['task_id']}/cancel", {"subtask_id": mine["subtask_id"]})
    assert message.status == 404
    assert scene.stopped == []
