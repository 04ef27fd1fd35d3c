"""Executor hosts over REST: fetching runs, and what is made of their reports."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.hosting import TARGET, Site, chunk, site
from wegent.core.errors import StoreAway
from wegent.core.runs import RunLimits
from wegent.protocol.shape import to_wire
from wegent.protocol.status import Status
from wegent.storage.memory import MemoryStore
from wegent.testing.checkpoints import Cut, at_every_checkpoint


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class ShakyStore(MemoryStore):
    away = False

    async def _pause(self) -> None:
        if self.away:
            message = "the database is away"
            raise StoreAway(message)
        await super()._pause()


class ShakySite(Site):
    def make_store(self) -> ShakyStore:
        return ShakyStore(self.clock)


# fetching


async def test_a_run_is_fetched_done_and_seen(autojump_clock: Any) -> None:
    async with site() as app:
        viewer, job = await app.begun("draw a map")
        assert (job["task_id"], job["attempt"], job["lease_s"], job["prompt"]) == (viewer.task_id, 1, 15, "draw a map")
        assert (job["user"]["name"], job["bot"]["shell_type"]) == ("alice", "Chat")
        await viewer.client.wait_for("chat:start")
        first = await app.report(job, status="running", events=[chunk("Grüß ", 0)], progress=40)
        assert (first.status, first.json) == (
            200,
            {"subtask_id": job["subtask_id"], "status": "RUNNING", "offset": 5, "cancel": False, "skills": []},
        )
        last = await app.report(
            job, events=[chunk("dich 👋🏽", 5), {"type": "done", "result": {"workbench": {"a": 1}}}]
        )
        assert (last.json["status"], last.json["offset"]) == ("COMPLETED", 12)
        done = await viewer.client.wait_for("chat:done")
        assert done["result"]["value"] == "Grüß dich 👋🏽"
        assert viewer.problems == []
        row = app.row(job["subtask_id"])
        assert (row.status, row.owner, row.result) == ("COMPLETED", None, {"workbench": {"a": 1}})


async def test_a_fetch_waits_for_the_first_run(autojump_clock: Any) -> None:
    async with site() as app, trio.open_nursery() as nursery:
        got: list[Any] = []

        async def poll() -> None:
            got.append((await app.fetch(wait_s=30), trio.current_time()))

        nursery.start_soon(poll)
        await trio.sleep(20)
        began = trio.current_time()
        await app.sent()
        await trio.testing.wait_all_tasks_blocked(0.1)
        ((answer, at),) = got
        assert len(answer.json["tasks"]) == 1
        assert at - began < 0.1


async def test_a_fetch_that_finds_nothing_ends_when_it_said(autojump_clock: Any) -> None:
    async with site() as app:
        for wait_s in (0, 3, 30):
            began = trio.current_time()
            assert (await app.fetch(wait_s=wait_s)).json == {"tasks": []}
            assert trio.current_time() - began == pytest.approx(wait_s, abs=0.1)


async def test_without_a_wait_what_is_there_is_given(autojump_clock: Any) -> None:
    async with site() as app:
        await app.sent()
        assert len((await app.fetch()).json["tasks"]) == 1


async def test_no_run_is_given_to_two_hosts(autojump_clock: Any) -> None:
    """Many pollers, and the server's own executor beside them: each attempt runs once."""
    async with site(mine=2) as app, trio.open_nursery() as nursery:
        fetched: Counter[int] = Counter()

        async def host(name: str) -> None:
            while True:
                for job in (await app.fetch(executor=name, limit=3, wait_s=10)).json["tasks"]:
                    fetched[job["subtask_id"]] += 1
                    await trio.sleep(0.1)
                    await app.report(job, events=[{"type": "done", "result": {"value": "there"}}])

        for number in range(8):
            nursery.start_soon(host, f"host-{number}")
        viewers = [await app.sent(name=name) for name in ("alice", "bob", "carol") for _ in range(15)]
        for viewer in viewers:
            await viewer.client.wait_for("chat:done")
        nursery.cancel_scope.cancel()
    assert max(fetched.values()) == 1
    assert 0 < len(fetched) < 45
    assert len(app.executor.jobs) == 45 - len(fetched)  # type: ignore[attr-defined]


async def test_the_limit_is_kept_and_the_rest_goes_to_the_next(autojump_clock: Any) -> None:
    async with site() as app:
        for name in ("alice", "bob", "carol"):
            await app.sent(name=name)
        sizes = [len((await app.fetch(limit=2)).json["tasks"]) for _ in range(3)]
        assert sizes == [2, 1, 0]


async def test_a_token_opens_its_own_targets_only(autojump_clock: Any) -> None:
    async with site() as app:
        await app.sent()
        token, _ = await app.new_token("docker", "gpu")
        denied = await app.fetch(TARGET, "gpu", token=token)
        assert (denied.status, denied.code) == (403, "ACCESS_DENIED")
        assert denied.json["error"] == "this token is for 'docker', 'gpu', not for 'chat_shell'"
        assert (await app.fetch("gpu", token=token)).json == {"tasks": []}
        strange, _ = await app.new_token("device:1:x")
        assert (await app.fetch("device:1:x", token=strange)).status == 403


async def test_other_scopes_fetch_and_report_nothing(autojump_clock: Any) -> None:
    async with site() as app:
        _, job = await app.begun()
        user, _ = await app.new_token(scope="user")
        for token in (user, job["auth_token"], "nonsense"):
            status = 401 if token == "nonsense" else 403
            assert (await app.fetch(token=token)).status == status
            assert (await app.report(job, token=token)).status == status


async def test_a_host_that_hangs_up_claims_nothing(autojump_clock: Any) -> None:
    async with site() as app, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def poll() -> None:
            with scope:
                await app.take(wait_s=30)

        nursery.start_soon(poll)
        await trio.sleep(5)
        scope.cancel()
        await trio.lowlevel.checkpoint()
        await app.sent()
        assert len((await app.fetch()).json["tasks"]) == 1


async def test_a_revoked_token_gets_no_run_any_more_even_while_it_waits(autojump_clock: Any) -> None:
    async with site() as app, trio.open_nursery() as nursery:
        token, record = await app.new_token(TARGET)
        got: list[Any] = []

        async def poll() -> None:
            got.append(await app.fetch(wait_s=30, token=token))

        nursery.start_soon(poll)
        await trio.sleep(1)
        await app.store.write(lambda unit: unit.revoke_token(record.jti, app.clock.now()))  # as another process would
        await trio.sleep(3)
        assert (await app.fetch(token=token)).status == 401
        await app.sent()
        await trio.sleep(0.1)
        assert [answer.status for answer in got] == [401]
        assert len((await app.fetch()).json["tasks"]) == 1


async def test_draining_ends_the_wait_and_gives_nothing_more(autojump_clock: Any) -> None:
    async with site() as app, trio.open_nursery() as nursery:
        got: list[Any] = []

        async def poll() -> None:
            got.append(await app.fetch(wait_s=30))

        _, job = await app.begun()
        nursery.start_soon(poll)
        await trio.sleep(1)
        app.queue.pause()
        await app.sent()
        await trio.sleep(0.1)
        assert [answer.json for answer in got] == [{"tasks": []}]
        later = await app.fetch(wait_s=30)
        assert (later.status, later.code, later.headers["Retry-After"]) == (503, "SHUTTING_DOWN", "1")
        assert (await app.report(job, events=[chunk("still heard", 0)])).json["offset"] == 11


async def test_a_run_that_cannot_be_put_together_fails_and_the_others_are_given(autojump_clock: Any) -> None:
    async with site() as app:
        first, second = await app.sent(), await app.sent(name="bob")

        def spoil(unit: Any) -> None:
            row = unit.unfinished(first.task_id)[0]
            unit.update_subtask(row.id, task=unit.touch(first.task_id), options={"model": "no such model"})

        await app.store.write(spoil)
        (job,) = (await app.fetch(limit=5)).json["tasks"]
        assert job["task_id"] == second.task_id
        error = await first.client.wait_for("chat:error")
        assert "no such model" in error["error"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"targets": []}, "at least one"),
        ({"targets": [""]}, "targets"),
        ({"targets": "x"}, "targets"),
        ({"executor": ""}, "executor"),
        ({"executor": "x" * 201}, "executor"),
        ({"executor": "a\0"}, "executor"),
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"wait_s": 31}, "wait_s"),
        ({"wait_s": -1}, "wait_s"),
        ({"wait_s": "5"}, "wait_s"),
    ],
)
async def test_a_wrong_fetch_says_what_is_wrong(autojump_clock: Any, fields: dict[str, Any], word: str) -> None:
    async with site() as app:
        answer = await app.call("POST", "/fetch", {"executor": "h", "targets": [TARGET], "limit": 1, **fields})
        assert (answer.status, answer.code) == (400, "INVALID_PAYLOAD")
        assert word in answer.json["error"]


async def test_metrics_tell_of_hosts_that_wait_and_of_runs_on_hosts(autojump_clock: Any) -> None:
    async with site() as app, trio.open_nursery() as nursery:
        _, job = await app.begun()
        nursery.start_soon(partial(app.fetch, wait_s=3))
        await trio.sleep(1)
        assert _gauges(app) == {"waiting": 1, "host": 1, TARGET: 0}
        await app.report(job, status="COMPLETED")
        await trio.sleep(3)
        assert _gauges(app) == {"waiting": 0, "host": 0, TARGET: 0}


def _gauges(app: Site) -> dict[str, Any]:
    found = {"wegent_fetches_waiting", "wegent_executors_running"}
    return {each.labels.get("kind", "waiting"): each.value for each in app.registry.collect() if each.name in found}


# reports


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_however_reports_are_cut_and_repeated_the_text_is_what_was_said(data: st.DataObject) -> None:
    """A host that sends any stretch from where the server is, in any cut, each report once or more, also the last."""
    whole = data.draw(st.text(alphabet="ab😀é\ufffd", max_size=24))

    async def main() -> None:
        async with site() as app:
            viewer = await app.sent()
            (job,) = map(to_wire, await app.take(wait_s=5))
            length = 0
            for last in (*[False] * data.draw(st.integers(0, 8)), True):
                start = data.draw(st.integers(0, length))
                stop = len(whole) if last else data.draw(st.integers(start, len(whole)))
                cut = data.draw(st.integers(start, stop))
                events = [chunk(whole[start:cut], start), chunk(whole[cut:stop], cut)]
                for _ in range(data.draw(st.integers(1, 3))):
                    length = (await app.say(job, events=events)).offset
                assert length >= stop
            ending = {"status": "COMPLETED", "result": {"value": whole}}
            for _ in range(data.draw(st.integers(1, 3))):
                answer = await app.say(job, **ending)
                assert (answer.status, answer.offset) == (Status.COMPLETED, len(whole))
            await trio.sleep(1)
            assert app.row(job["subtask_id"]).content == whole
            assert len(viewer.client.events("chat:done")) == 1
            assert viewer.problems == []

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    "events",
    [
        [chunk("x", 4)],
        [chunk("b", 0)],
        [chunk("abd", 0)],
        [{"type": "progress", "progress": 50}, chunk("d", 3), chunk("f", 5)],
        [{"type": "done", "result": {"value": "ab"}}],
        [{"type": "done", "result": {"value": "xyz!"}}],
    ],
    ids=["a gap", "a difference", "a later one", "a gap within", "shorter", "another text"],
)
async def test_text_that_does_not_continue_is_told_where_to_go_on(autojump_clock: Any, events: list[Any]) -> None:
    async with site() as app:
        _, job = await app.begun()
        await app.report(job, events=[chunk("abc", 0)])
        answer = await app.report(job, events=events)
        assert (answer.status, answer.code, answer.json["offset"]) == (409, "OFFSET_MISMATCH", 3)
        assert app.row(job["subtask_id"]).status == "RUNNING"
        again = await app.report(job, events=[chunk("abcd", 0), {"type": "done"}])
        assert (again.json["status"], again.json["offset"]) == ("COMPLETED", 4)


async def test_halves_of_surrogate_pairs_become_text(autojump_clock: Any) -> None:
    async with site() as app:
        _, job = await app.begun()
        held = f'"subtask_id": {job["subtask_id"]}, "attempt": 1, "lease": "{job["lease"]}"'
        for said in ('"a\\ud83d"', '"\\ude00\\u0000"', '"\\ude00b"'):
            data = f'{{{held}, "events": [{{"type": "chunk", "content": {said}}}]}}'.encode()
            assert (await app.call("PUT", f"/{job['task_id']}/status", data=data)).status == 200
        await app.report(job, events=[{"type": "done"}])
        assert app.row(job["subtask_id"]).content == "a😀\ufffd\ufffdb"


async def test_who_has_no_lease_reports_nothing(autojump_clock: Any) -> None:
    async with site() as app:
        _, job = await app.begun()
        other, _ = await app.new_token("gpu")
        refused = [
            await app.report({**job, "lease": "guessed"}),
            await app.report({**job, "lease": "gé"}),
            await app.report({**job, "attempt": 2}),
            await app.report({**job, "subtask_id": 999}),
            await app.report({**job, "subtask_id": job["subtask_id"] - 1}),
        ]
        assert {(answer.status, answer.code) for answer in refused} == {(409, "LEASE_LOST")}
        answer = await app.report(job, token=other)
        assert (answer.status, answer.code) == (403, "ACCESS_DENIED")
        for task_id in (999, "abc"):
            answer = await app.call("PUT", f"/{task_id}/status", {**_held(job), "events": [chunk("x", 0)]})
            assert (answer.status, answer.code) == (404, "NOT_FOUND")
        assert (await app.report(job)).json["offset"] == 0


async def test_a_run_of_the_servers_own_is_not_to_be_reported(autojump_clock: Any) -> None:
    async with site(mine=1) as app:
        viewer = await app.sent("slow")
        await viewer.client.wait_for("chat:start")
        (row,) = app.peek(lambda unit: unit.running())
        held = {"task_id": row.task_id, "subtask_id": row.id, "attempt": 1, "lease": row.lease}
        assert (await app.report(held, status="COMPLETED")).code == "LEASE_LOST"


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "GONE"},
        {"status": "PENDING"},
        {"progress": 101},
        {"events": [{"type": "strange"}]},
        {"events": [{"type": "heartbeat"}] * 1_001},
        {"events": [{"type": "chunk", "content": "x", "offset": -1}]},
        {"events": [{"type": "block", "id": "", "tool_name": "t", "status": "done"}]},
        {"events": [{"type": "skill", "id": "", "skill_name": "s", "action": "a"}]},
        {"events": "none"},
        {"result": {"workbench": [1]}},
        {"skills_received": [1]},
        {"lease": ""},
        {"attempt": 0},
    ],
)
async def test_a_wrong_report_says_what_is_wrong_and_changes_nothing(
    autojump_clock: Any, fields: dict[str, Any]
) -> None:
    async with site() as app:
        _, job = await app.begun()
        answer = await app.report(job, **{"events": [chunk("x", 0), *fields.get("events", ())], **fields})
        assert (answer.status, answer.code) == (400, "INVALID_PAYLOAD")
        assert len(answer.json["error"]) < 300
        assert (await app.report(job)).json == {
            "subtask_id": job["subtask_id"],
            "status": "RUNNING",
            "offset": 0,
            "cancel": False,
            "skills": [],
        }


async def test_a_run_that_says_too_much_is_over(autojump_clock: Any) -> None:
    async with site(run_limits=RunLimits(max_stream=10)) as app:
        viewer, job = await app.begun()
        answer = await app.report(job, events=[chunk("x" * 11, 0)])
        assert (answer.json["status"], answer.json["cancel"]) == ("FAILED", True)
        assert (await viewer.client.wait_for("chat:error"))["type"] == "output_limit"
        answer = await app.report(job, events=[{"type": "done"}])
        assert (answer.code, answer.json["status"]) == ("TERMINAL", "FAILED")


async def test_a_cancelled_run_is_told_so_until_it_says_that_it_has_ended(autojump_clock: Any) -> None:
    async with site() as app:
        viewer, job = await app.begun()
        await app.report(job, events=[chunk("abc", 0)])
        await viewer.client.emit("chat:cancel", {"subtask_id": job["subtask_id"]})
        for _ in range(2):
            answer = await app.report(job)
            assert (answer.json["status"], answer.json["cancel"]) == ("CANCELLING", True)
        last = await app.report(job, status="CANCELLED")
        assert (last.json["status"], last.json["cancel"]) == ("CANCELLED", False)
        assert (await viewer.client.wait_for("chat:cancelled"))["result"]["value"] == "abc"
        late = await app.report(job, status="COMPLETED")
        assert (late.status, late.code, late.json["status"]) == (409, "TERMINAL", "CANCELLED")


async def test_the_run_of_a_host_that_is_never_heard_of_goes_to_the_next(autojump_clock: Any) -> None:
    async with site() as app:
        viewer, job = await app.begun()
        began = trio.current_time()
        (second,) = (await app.fetch(wait_s=30)).json["tasks"]
        assert 15 <= trio.current_time() - began <= 18
        assert second["attempt"] == 2
        assert second["lease"] != job["lease"]
        assert (await app.report(job, status="COMPLETED")).code == "LEASE_LOST"
        assert (await app.report({**second, "attempt": 1})).code == "LEASE_LOST"
        assert (await app.report(second, status="COMPLETED")).status == 200
        await viewer.client.wait_for("chat:done")
        assert [start.get("reason") for start in viewer.client.events("chat:start")] == [None, "executor_lost"]


async def test_a_host_that_falls_silent_loses_its_run_and_one_that_has_nothing_to_say_does_not(
    autojump_clock: Any,
) -> None:
    async with site() as app:
        viewer, job = await app.begun()
        assert (await app.report(job, events=[chunk("abc", 0)])).status == 200
        for _ in range(12):
            await trio.sleep(5)
            assert (await app.report(job)).json["status"] == "RUNNING"
        error = await viewer.client.wait_for("chat:error")
        assert (error["type"], error["result"]["value"]) == ("executor_lost", "abc")
        late = await app.report(job, status="COMPLETED")
        assert (late.status, late.code, late.json["status"]) == (409, "TERMINAL", "FAILED")


async def test_another_worker_goes_on_with_what_the_store_has(autojump_clock: Any) -> None:
    """As after a restart: the copies in memory are gone, reports find rows and saved text."""
    async with site() as app:
        _, job = await app.begun()
        await app.report(job, events=[chunk("saved", 0)])
        await app.remote.save()
        app.remote.drop(job["subtask_id"], 1)
        answer = await app.report(job, events=[chunk("and more", 9)])
        assert (answer.code, answer.json["offset"]) == ("OFFSET_MISMATCH", 5)
        ending = {"events": [chunk(" text", 5), {"type": "done"}]}
        assert (await app.report(job, **ending)).json["status"] == "COMPLETED"
        app.remote.drop(job["subtask_id"], 1)
        for _ in range(2):
            again = await app.report(job, **ending)
            assert (again.status, again.json["status"], again.json["offset"]) == (200, "COMPLETED", 10)
        late = await app.report(job, events=[chunk("x", 10)])
        assert (late.code, late.json["status"]) == ("TERMINAL", "COMPLETED")


async def test_while_the_store_is_away_nothing_is_lost(autojump_clock: Any) -> None:
    async with site(ShakySite()) as app:
        viewer, job = await app.begun()
        await app.report(job, events=[chunk("abc", 0)])
        app.store.away = True  # type: ignore[attr-defined]
        ending = {"events": [chunk("def", 3), {"type": "done"}]}
        for wait in (0, 5):
            await trio.sleep(wait)
            answer = await app.report(job, **ending)
            assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "OVERLOADED", "1")
            assert (await app.fetch()).status == 503
        app.store.away = False  # type: ignore[attr-defined]
        assert (await app.report(job, **ending)).json["status"] == "COMPLETED"
        assert (await viewer.client.wait_for("chat:done"))["result"]["value"] == "abcdef"


async def test_answers_to_skills_come_until_they_are_said_to_have_arrived(autojump_clock: Any) -> None:
    async with site() as app:
        viewer, job = await app.begun()
        asked = {"type": "skill", "id": "q1", "skill_name": "pick", "action": "colour", "data": {"of": 3}}
        assert (await app.report(job, events=[asked])).json["skills"] == []
        request = await viewer.client.wait_for("skill:request")
        answer = {"request_id": request["request_id"], "success": True, "result": {"colour": "red"}}
        await viewer.client.emit("skill:response", answer)
        await trio.sleep(0.1)
        expected = [{"type": "skill", "id": "q1", "success": True, "result": {"colour": "red"}}]
        assert (await app.report(job, events=[asked])).json["skills"] == expected
        assert (await app.report(job, skills_received=["another"])).json["skills"] == expected
        assert (await app.report(job, skills_received=["q1"])).json["skills"] == []
        assert len(viewer.client.events("skill:request")) == 1


async def test_wherever_a_fetch_is_hung_up_its_run_is_done_once(autojump_clock: Any) -> None:
    async def attempt(cut: Cut) -> None:
        async with site() as app:
            viewer = await app.sent()
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await app.take()
            (job,) = (await app.fetch(wait_s=30)).json["tasks"] if cut.done else ({},)
            if cut.done:
                assert (await app.report(job, result={"value": "once"}, status="COMPLETED")).status == 200
                done = await viewer.client.wait_for("chat:done")
                assert (done["result"]["value"], viewer.problems) == ("once", [])
                assert app.peek(lambda unit: unit.running()) == []

    assert await at_every_checkpoint(attempt) >= 4


async def test_wherever_a_report_is_hung_up_its_repeat_makes_it_whole(autojump_clock: Any) -> None:
    async def attempt(cut: Cut) -> None:
        async with site() as app:
            viewer, job = await app.begun()
            said = {"events": [chunk("all of it", 0), {"type": "progress", "progress": 70}, {"type": "done"}]}
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await app.say(job, **said)
            again = await app.report(job, **said)
            assert (again.status, again.json["status"], again.json["offset"]) == (200, "COMPLETED", 9)
            await trio.sleep(1)
            assert (app.row(job["subtask_id"]).content, len(app.remote)) == ("all of it", 0)
            assert (len(viewer.client.events("chat:done")), viewer.problems) == (1, [])

    assert await at_every_checkpoint(attempt) >= 4


# reading rows


async def test_a_runs_token_reads_its_task_while_it_runs(autojump_clock: Any) -> None:
    async with site() as app:
        _, job = await app.begun()
        other = await app.sent(name="bob")
        token = job["auth_token"]
        rows = await app.call("GET", f"/{job['task_id']}/subtasks", token=token)
        assert [row["role"] for row in rows.json["subtasks"]] == ["USER", "ASSISTANT"]
        denied = await app.call("GET", f"/{other.task_id}/subtasks", token=token)
        assert (denied.status, denied.code) == (403, "ACCESS_DENIED")
        await app.report(job, status="COMPLETED")
        assert (await app.call("GET", f"/{job['task_id']}/subtasks", token=token)).status == 401


async def test_a_host_reads_the_tasks_that_its_targets_run(autojump_clock: Any) -> None:
    async with site() as app:
        _, job = await app.begun()
        waiting = await app.sent(name="bob")
        other, _ = await app.new_token("gpu")
        assert (await app.call("GET", f"/{job['task_id']}/subtasks")).status == 200
        assert (await app.call("GET", f"/{job['task_id']}/subtasks", token=other)).status == 403
        assert (await app.call("GET", f"/{waiting.task_id}/subtasks")).status == 403
        await app.report(job, status="FAILED", error_message="broke")
        assert (await app.call("GET", f"/{job['task_id']}/subtasks")).status == 403


def _held(job: dict[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in ("subtask_id", "attempt", "lease")}
