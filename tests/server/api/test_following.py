"""Who follows a run and is put out of its task, or whose server stops, is told so; a message is never sent twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from wegent.core.errors import StoreAway
from wegent.server.api import event_stream, responses

ASK = {"model": "assistant", "input": "hello"}


@pytest.fixture(autouse=True)
def _short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.02)
    monkeypatch.setattr(responses, "KEEP_ALIVE", 0.02)


async def group_with_bob(scene: Any) -> int:
    task_id: int = (await scene.new_task())["task_id"]
    made = await scene.post(f"/tasks/{task_id}/group-chat", {"members": [{"user_name": "bob"}]})
    assert made.status == 200, made.body
    return task_id


async def remove_bob(scene: Any, task_id: int) -> None:
    gone = await scene.call("DELETE", f"/api/v1/tasks/{task_id}/members/{scene.bob.id}")
    assert gone.status == 200


async def until_followed(scene: Any, times: int = 1) -> None:
    """Until so many listen."""
    with trio.fail_after(5):
        while listening(scene) != times:  # noqa: ASYNC110
            await trio.sleep(0.005)


def listening(scene: Any) -> float:
    """How many do so."""
    return sum(
        sample.value
        for sample in scene.registry.collect()
        if sample.name == "wegent_connections" and sample.labels.get("transport") == "sse"
    )


async def messages_of(scene: Any, task_id: int) -> list[str]:
    rows = (await scene.get(f"/tasks/{task_id}/subtasks")).json["subtasks"]
    return [row["prompt"] for row in rows if row["role"] == "USER"]


class Asked:
    """A call that waits for its answer."""

    def __init__(self, scene: Any, **given: Any) -> None:
        self._scene = scene
        self._given = given
        self.answer: Any = None

    async def run(self) -> None:
        self.answer = await self._scene.call(**self._given)


async def answered(scene: Any, meanwhile: Any, **given: Any) -> Any:
    """The answer to a call during which something else is done."""
    asked = Asked(scene, **given)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asked.run)
            await until_followed(scene)
            await meanwhile()
    await until_followed(scene, 0)
    return asked.answer


async def test_a_stream_ends_when_its_reader_is_put_out_in_silence(scene: Any) -> None:
    task_id = await group_with_bob(scene)
    answer = await answered(
        scene,
        lambda: remove_bob(scene, task_id),
        method="GET",
        path=f"/api/v1/tasks/{task_id}/stream",
        token="bob",
    )
    assert answer.status == 200
    assert b"chat:done" not in answer.body


async def stop(scene: Any) -> None:
    scene.followers.close_all()


async def test_an_answer_that_a_stopping_server_can_not_wait_for_is_not_asked_for_again(scene: Any) -> None:
    answer = await answered(scene, lambda: stop(scene), method="POST", path="/api/v1/responses", body=ASK)
    assert answer.status == 503
    assert answer.headers["X-Should-Retry"] == "false"
    assert "Retry-After" not in answer.headers
    [task] = (await scene.get("/tasks")).json["items"]
    assert await messages_of(scene, task["id"]) == ["hello"]
    rows = (await scene.get(f"/tasks/{task['id']}/subtasks")).json["subtasks"]
    assert f"resp_{rows[-1]['id']}" in answer.json["error"]["message"]


async def test_a_member_who_is_put_out_while_waiting_for_an_answer_learns_it(scene: Any) -> None:
    task_id = await group_with_bob(scene)
    rows = (await scene.get(f"/tasks/{task_id}/subtasks")).json["subtasks"]
    asked = {**ASK, "input": "@assistant and me?", "previous_response_id": f"resp_{rows[-1]['id']}"}
    await scene.change_row(rows[-1]["id"], status="COMPLETED")
    answer = await answered(
        scene, lambda: remove_bob(scene, task_id), method="POST", path="/api/v1/responses", body=asked, token="bob"
    )
    assert (answer.status, answer.headers["X-Should-Retry"]) == (503, "false")


async def test_a_store_that_goes_away_after_the_message_was_sent(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> Any:
        raise StoreAway("the database is away")

    monkeypatch.setattr(responses.ResponseCalls, "find", away)
    answer = await scene.post("/responses", {**ASK, "stream": True})
    assert (answer.status, answer.headers["X-Should-Retry"]) == (503, "false")
    assert "resp_" in answer.json["error"]["message"]


async def test_before_the_message_is_sent_whoever_asks_may_ask_again(scene: Any) -> None:
    scene.store.fault = StoreAway("the database is away")
    answer = await scene.post("/responses", ASK)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "X-Should-Retry" not in answer.headers


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"stream": True, "background": True}, "background"),
    ],
)
async def test_what_a_team_can_not_do_is_refused_by_name(scene: Any, wrong: dict[str, Any], name: str) -> None:
    answer = await scene.post("/responses", {**ASK, **wrong})
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["message"].startswith(f"`{name}`: ")
    assert (await scene.get("/tasks")).json["items"] == []
