"""Attachments over REST, and with the messages that carry them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio

from wegent.attachments.folder import FolderBlobs
from wegent.attachments.reading import Reader
from wegent.core.model import Job, Principal
from wegent.protocol import jobs
from wegent.protocol.chat import Context, OtherContext
from wegent.server.api.app import make_app
from wegent.server.api.attachments import attachments_blueprint, upload_blueprint
from wegent.server.attachments import Attachments, Upload
from wegent.server.contexts import Contexts
from wegent.server.ports.contexts import ContextProvider, Provided
from wegent.server.specs import job_of
from wegent.testing.checkpoints import Cut, at_every_checkpoint

REFERENCE = Path(__file__).parents[3] / "docs/reference/attachments.md"
BOUNDARY = "frontier"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(data: bytes, *, name: str = "file", filename: str = "notes.txt", kind: str = "text/plain") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    return b"--" + BOUNDARY.encode() + b"\r\n" + head.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY.encode() + b"--\r\n"


@pytest.fixture
async def scene(scene: Any, tmp_path: Path) -> Any:
    attachments = Attachments(
        scene.store, FolderBlobs(tmp_path), Reader().read, most=200_000, per_user=500_000, at_once=2
    )
    both = [upload_blueprint(attachments, scene.auth), attachments_blueprint(attachments, scene.auth)]
    for blueprint in both:
        scene.app.register_blueprint(blueprint)
    return scene


async def upload(scene: Any, data: bytes, **given: Any) -> Any:
    token = given.pop("token", "")
    return await scene.call("POST", "/api/v1/attachments", data=form(part(data, **given)), headers=HEADERS, token=token)


async def download(scene: Any, attachment_id: int, token: str = "") -> Any:
    return await scene.get(f"/attachments/{attachment_id}", token=token)


@pytest.fixture
def files(tmp_path: Path) -> Any:
    return lambda: [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_a_file_is_brought_and_read_back(scene):
    data = "héllo\r\n--frontie\n".encode()
    made = await upload(scene, data, filename="dir/näme.txt")
    assert made.status == 201
    assert {**made.json, "name": "näme.txt", "content_type": "text/plain", "size": len(data)} == made.json
    assert made.json["characters"] == len(data.decode())
    read = await download(scene, made.json["id"])
    assert (read.status, read.body) == (200, data)
    assert read.headers["Content-Disposition"] == "attachment; filename*=UTF-8''n%C3%A4me.txt"
    assert read.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("size", [0, 1, 65_536, 199_999, 200_000])
async def test_any_bytes_come_back_as_they_were(scene, size):
    data = (bytes(range(256)) * 800)[:size]
    made = await upload(scene, data)
    assert made.json["size"] == size
    assert (await download(scene, made.json["id"])).body == data


async def test_what_is_too_large_leaves_nothing(scene, files):
    for size in (200_001, 300_000):
        answer = await upload(scene, b"x" * size)
        assert answer.status in (400, 413)
        assert answer.json["code"] == "INVALID_PAYLOAD"
    assert files() == []


async def test_a_user_has_as_many_bytes_as_the_limit_says(scene, files):
    made = [await upload(scene, b"x" * 200_000) for _ in range(3)]
    assert [each.status for each in made] == [201, 201, 409]
    assert "delete some" in made[2].json["error"]
    assert len(files()) == 2
    assert (await upload(scene, b"x", token="bob")).status == 201
    assert (await scene.call("DELETE", f"/api/v1/attachments/{made[0].json['id']}")).json == {"success": True}
    assert (await upload(scene, b"x" * 100_000)).status == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        form(),
        form(part(b"x", name="other")),
        part(b"x"),
        part(b"x" * 70_000),
        form(part(b"x"))[:-4],
        b"--frontier\r\n\r\n\r\nx\r\n--frontier--\r\n",
        b"--frontier\r\nContent-Disposition: form-data; name=\xff\r\n\r\nx\r\n--frontier--\r\n",
    ],
)
async def test_a_body_that_is_no_whole_form_with_a_file_is_refused(scene, files, body):
    answer = await scene.call("POST", "/api/v1/attachments", data=body, headers=HEADERS)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")
    assert files() == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=é", ""])
async def test_another_type_of_body_is_refused(scene, kind):
    answer = await scene.call("POST", "/api/v1/attachments", data=form(part(b"x")), headers={"Content-Type": kind})
    assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")


async def test_a_body_comes_no_faster_than_it_is_taken(scene):
    """A client that sends for ever finds nobody who reads once enough waits."""
    sent = 0
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/slow",
        "raw_path": b"/slow",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "extensions": {},
    }
    app = make_app([])

    @app.post("/slow")
    async def slow() -> str:
        await trio.sleep_forever()
        return ""

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 65_536
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": bytes(65_536), "more_body": True}

    async def send(event: Any) -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(app, scope, receive, send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent <= 1_000_000
        nursery.cancel_scope.cancel()


async def test_those_who_see_a_task_read_what_it_carries_and_nobody_else(scene):
    made = (await upload(scene, b"for us")).json
    assert (await download(scene, made["id"], token="bob")).json["code"] == "NOT_FOUND"
    task = await scene.new_task("look", attachment_ids=[made["id"]], is_group_chat=True)
    assert (await download(scene, made["id"], token="bob")).status == 404
    bob = scene.bob.id
    await scene.store.write(lambda unit: unit.put_member(task["task_id"], bob))
    assert (await download(scene, made["id"], token="bob")).body == b"for us"
    assert (await scene.call("DELETE", f"/api/v1/attachments/{made['id']}", token="bob")).status == 404
    now = scene.clock.now()
    await scene.store.write(lambda unit: unit.put_member(task["task_id"], bob, removed_at=now))
    assert (await download(scene, made["id"], token="bob")).status == 404
    assert (await scene.get(f"/attachments/{made['id']}", token=None)).status == 401


async def test_a_run_reads_what_its_task_carries_and_nothing_else(scene):
    mine, other = [(await upload(scene, data)).json["id"] for data in (b"mine", b"other")]
    task = await scene.new_task("look", attachment_ids=[mine])
    row = task["assistant_subtask_id"]
    await scene.change_row(row, status="RUNNING", owner="w", lease="l")
    user = jobs.JobUser(id=scene.ada.id, name="ada")
    job = Job(task["task_id"], row, 2, 1, 1, "l", "chat_shell", scene.ada.id, None)
    token = scene.auth.run_token(_spec(job, user))
    assert (await download(scene, mine, token=token)).body == b"mine"
    assert (await download(scene, other, token=token)).status == 404
    assert (await scene.call("DELETE", f"/api/v1/attachments/{mine}", token=token)).status == 403


def _spec(job: Job, user: jobs.JobUser) -> Any:
    class Spec:
        task_id, subtask_id, attempt = job.task_id, job.subtask_id, job.attempt

    Spec.user = user
    return Spec


async def test_the_model_reads_attachments_with_their_message_and_later(scene):
    first = (await upload(scene, b"the sky is green")).json["id"]
    image = (await upload(scene, b"\x89PNG\0", filename="a.png", kind="image/png")).json["id"]
    context = {"type": "attachment", "id": first}
    task = await scene.new_task("what?", contexts=[context], attachment_ids=[first, image])
    rows = await scene.store.read(lambda unit: unit.subtasks(task["task_id"]))
    assert [(each["id"], each["name"]) for each in rows[0].contexts] == [(first, "notes.txt"), (image, "a.png")]

    def job(unit: Any) -> Any:
        return job_of(unit, unit.task(task["task_id"]), unit.subtasks(task["task_id"])[-1])

    spec = await scene.store.read(job)
    assert "the sky is green" in spec.prompt
    assert "a.png" in spec.prompt
    assert spec.prompt.endswith("what?")
    assert [each.id for each in spec.attachments] == [first, image]
    await scene.change_row(task["assistant_subtask_id"], status="COMPLETED", content="green")
    await scene.post(f"/tasks/{task['task_id']}/messages", {"message": "sure?"})
    spec = await scene.store.read(job)
    assert spec.prompt == "sure?"
    assert "the sky is green" in spec.history[0].content
    await scene.call("DELETE", f"/api/v1/attachments/{first}")
    assert "has been deleted" in (await scene.store.read(job)).history[0].content


async def test_what_a_model_is_given_has_a_limit_and_the_newest_comes_first(scene):
    ids = [(await upload(scene, letter * 150_000)).json["id"] for letter in (b"a", b"b", b"c")]
    task = await scene.new_task("one", attachment_ids=ids[:1])
    assert len(ids) == 3
    contexts = [{"type": "text", "title": "t", "text": "n" * 390_000}]
    await scene.change_row(task["assistant_subtask_id"], status="COMPLETED", content="x")
    await scene.post(f"/tasks/{task['task_id']}/messages", {"message": "two", "contexts": contexts})
    spec = await scene.store.read(
        lambda unit: job_of(unit, unit.task(task["task_id"]), unit.subtasks(task["task_id"])[-1])
    )
    assert spec.prompt.count("n") == 390_000
    assert spec.history[0].content.count("a") < 20_000
    assert "left out" in spec.history[0].content


async def test_somebody_elses_attachment_is_not_sent(scene):
    made = (await upload(scene, b"x", token="bob")).json["id"]
    for fields in ({"attachment_ids": [made]}, {"contexts": [{"type": "attachment", "id": made}]}):
        answer = await scene.post("/tasks", {"team_id": scene.team_id, "message": "x", **fields})
        assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")
    assert (await scene.get("/tasks")).json["items"] == []


async def test_contexts_that_nobody_provides_or_too_many_are_refused(scene):
    for fields in (
        {"contexts": [{"type": "knowledge_base", "id": 1}]},
        {"contexts": [{"type": "weather", "town": "Kiel"}]},
        {"attachment_ids": list(range(1, 60))},
    ):
        answer = await scene.post("/tasks", {"team_id": scene.team_id, "message": "x", **fields})
        assert (answer.status, answer.json["code"]) == (400, "INVALID_PAYLOAD")


async def test_the_reference_names_every_call(scene):
    told = set(re.findall(r"^\| `([A-Z]+ /[^` ]*)`", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == {"POST /attachments", "GET /attachments/{id}", "DELETE /attachments/{id}"}


async def test_an_edited_message_keeps_what_went_with_it(scene):
    kept, deleted = [(await upload(scene, data)).json["id"] for data in (b"the sky is green", b"no matter")]
    contexts = [{"type": "text", "title": "Hint", "text": "look up"}]
    task = await scene.new_task("what?", attachment_ids=[kept, deleted], contexts=contexts)
    await scene.change_row(task["assistant_subtask_id"], status="COMPLETED", content="blue")
    await scene.call("DELETE", f"/api/v1/attachments/{deleted}")
    path = f"/tasks/{task['task_id']}/subtasks/{task['subtask_id']}/edit"
    assert (await scene.post(path, {"message": "which colour?"})).status in (200, 201)
    spec = await scene.store.read(
        lambda unit: job_of(unit, unit.task(task["task_id"]), unit.subtasks(task["task_id"])[-1])
    )
    assert "the sky is green" in spec.prompt
    assert "look up" in spec.prompt
    assert "has been deleted" in spec.prompt
    assert spec.prompt.endswith("which colour?")


async def test_nothing_is_left_of_an_upload_that_is_cut_anywhere(scene, tmp_path):
    """A row has its bytes, and bytes have their row, wherever its caller is cancelled."""
    blobs = FolderBlobs(tmp_path / "cut")
    attachments = Attachments(scene.store, blobs, Reader().read, most=10**6, per_user=10**9)
    who = Principal(scene.ada.id, "ada")

    class Pieces:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> bytes:
            await trio.lowlevel.checkpoint()
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return b"x" * 300_000

    async def attempt(cut: Cut) -> None:
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await attachments.keep(who, Upload("a", "text/plain", Pieces()))
        there = {path.name for path in (tmp_path / "cut").rglob("*") if path.is_file()}
        rows = scene.store._step(lambda unit: list(unit._t.attachments.values()), writable=False)
        assert there == {row.blob for row in rows}

    assert await at_every_checkpoint(attempt) > 8


async def test_a_context_that_a_plugin_provides_is_read_and_kept(scene):
    class Weather(ContextProvider):
        async def provide(self, principal: Principal, context: Context, message: str) -> Provided:
            assert isinstance(context, OtherContext)
            return Provided("Weather", f"rain in {context.data['town']}", {"icon": "cloud"})

    contexts = Contexts({"weather": Weather()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wegent.server.contexts.Contexts.gather", contexts.gather)
        task = await scene.new_task("umbrella?", contexts=[{"type": "weather", "town": "Kiel"}])
    rows = await scene.store.read(lambda unit: unit.subtasks(task["task_id"]))
    kept = {"type": "weather", "town": "Kiel", "icon": "cloud", "title": "Weather", "text": "rain in Kiel"}
    assert rows[0].contexts == (kept,)
    spec = await scene.store.read(lambda unit: job_of(unit, unit.task(task["task_id"]), rows[1]))
    assert "rain in Kiel" in spec.prompt
