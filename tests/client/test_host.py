"""Executor hosts on a virtual clock, against a server that answers as it is told to."""

from __future__ import annotations

import itertools
import json
import logging
import math
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from tests.client.report_server import Server
from wegent.client.errors import Stranger
from wegent.client.host import Host, HostOptions
from wegent.client.monitor import Monitor
from wegent.client.plugin import assign, targets_of
from wegent.client.rest import Rest
from wegent.core.clock import VirtualClock
from wegent.core.errors import AccessDenied, ConfigError, NotAuthenticated, OffsetMismatch, RunFailed
from wegent.core.model import THINKING, EndingStatus, Outcome
from wegent.core.ports.executor import Executor

LEASE_S = 15.0
LOST = (409, {"error": "attempt 1 of 2 is not yours, or not any more", "code": "LEASE_LOST"})


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def job(subtask_id=2, target="gpu", **fields):
    return {
        "task_id": 1,
        "subtask_id": subtask_id,
        "message_id": 2,
        "attempt": 1,
        "lease": "lease",
        "lease_s": LEASE_S,
        "target": target,
        "user": {"id": 1, "name": "alice"},
        "team": {"id": 1, "name": "t", "namespace": "default"},
        "bot": {"name": "b", "shell_type": "Test"},
        "prompt": "hi",
        "title": "hi",
        "auth_token": "",
        "created_at": "2026-02-01T12:00:00Z",
        **fields,
    }


class Scripted(Executor):
    """Does what the test wrote down."""

    def __init__(self, script):
        self.script = script
        self.cancelled = 0

    async def run(self, job, sink):
        try:
            return Outcome(await self.script(sink) or {})
        except trio.Cancelled:
            self.cancelled += 1
            raise


class Remembering(Monitor):
    def __init__(self):
        self.told = []

    def connected(self):
        self.told.append("connected")

    def trouble(self, reason):
        self.told.append("trouble")

    def stopping(self, runs, seconds):
        self.told.append(f"stopping {runs}")

    def began(self, run):
        self.told.append("began")

    def ended(self, run):
        self.told.append("lost" if run.lost or run.ending is None else run.ending.status.value)


class Api:
    """Hands out jobs and takes reports. `fetch_answers` and `report_answers` come first, one a call: a status and a
    body, an error to raise, or None for what it would answer anyway.
    """

    def __init__(self, *jobs):
        self.server = Server()
        self.jobs = list(jobs)
        self.fetches = []
        self.reports = []
        self.fetch_answers = []
        self.report_answers = []
        self.cancel = False
        self.skills = []
        self.over = trio.Event()
        self.was_asked = trio.Event()

    async def answer(self, request):
        body = json.loads(request.content)
        if request.url.path.endswith("/tasks/fetch"):
            self.fetches.append((trio.current_time(), body))
            return self._scripted(self.fetch_answers) or await self._fetch(body)
        assert request.url.path.endswith("/tasks/1/status")
        self.reports.append((trio.current_time(), body))
        answer = self._scripted(self.report_answers)
        return answer or self._report(request.content, body)

    def _scripted(self, answers):
        answer = answers.pop(0) if answers else None
        if answer is None:
            return None
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        return httpx.Response(status, json=body, headers=headers[0] if headers else {})

    async def _fetch(self, asked):
        given, self.jobs = self.jobs[: asked["limit"]], self.jobs[asked["limit"] :]
        if not given:
            await trio.sleep(asked["wait_s"] or 0.01)
        return httpx.Response(200, json={"tasks": given})

    def _report(self, content, body):
        try:
            offset = self.server.take(content)
        except OffsetMismatch as error:
            return httpx.Response(409, json=error.as_payload())
        if self.server.ending is not None:
            self.over.set()
        if self.server.asked:
            self.was_asked.set()
        received = body.get("skills_received") or ()
        self.skills = [each for each in self.skills if each["id"] not in received]
        status = self.server.ending.status.value if self.server.ending else "RUNNING"
        answer = {"subtask_id": 2, "status": status, "offset": offset, "cancel": self.cancel, "skills": self.skills}
        return httpx.Response(200, json=answer)


@asynccontextmanager
async def hosting(api, script, *, slots=2):
    executor = Scripted(script)
    monitor = Remembering()
    client = httpx.AsyncClient(transport=httpx.MockTransport(api.answer), base_url="http://server/api/v1/")
    async with client, trio.open_nursery() as nursery:
        host = Host(
            Rest(client, "token", 30.0),
            {"test": executor},
            HostOptions("one", {"gpu": "test"}, slots),
            VirtualClock(),
            monitor,
        )
        nursery.start_soon(host.run)
        yield host, executor, monitor
        await host.drain(trio.current_time() + 60, trio.Event())


async def everything(sink):
    await sink.thinking("hm")
    for number in range(50):
        await sink.text(f"{number} 👋🏽 ")
        await trio.sleep(0.03)
        if number == 10:
            await sink.block({"id": "b", "tool_name": "t", "status": "pending"})
        await sink.progress(number)
    await sink.block({"id": "b", "status": "done", "tool_output": "out"})
    await sink.app({"name": "a", "address": "b", "previewUrl": "c"})
    return {"workbench": {"made": 1}}


WHOLE = "".join(f"{number} 👋🏽 " for number in range(50))


def check(server):
    assert (server.replica.text(), server.replica.text(THINKING)) == (WHOLE, "hm")
    assert [value.get("tool_output") or value.get("progress") or value["name"] for value in server.values()] == [
        "a",
        "out",
        49,
    ]
    assert (server.ending.status, server.ending.result) == (EndingStatus.COMPLETED, {"workbench": {"made": 1}})


async def test_a_run_arrives_whole(autojump_clock):
    api = Api(job())
    async with hosting(api, everything) as (_, _, monitor):
        await api.over.wait()
    check(api.server)
    assert monitor.told == ["connected", "began", "stopping 1", "COMPLETED"]
    assert api.fetches[0][1] == {"executor": "one", "targets": ["gpu"], "limit": 2, "wait_s": 0}
    assert len(api.reports) < 40  # deltas go together


BAD = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    (503, {"error": "later", "code": "OVERLOADED"}, {"Retry-After": "3"}),
    (502, {}),
    (500, {"error": "a defect", "code": "INTERNAL"}),
]


@pytest.mark.parametrize("answer", BAD, ids=["refused", "timeout", "overloaded", "proxy", "defect"])
async def test_a_run_arrives_whole_over_a_bad_network(autojump_clock, answer):
    api = Api(job())
    api.fetch_answers = [answer] if answer != BAD[-1] else []
    api.report_answers = [None, answer, answer, None, None, None, answer]
    async with hosting(api, everything):
        await api.over.wait()
    check(api.server)


async def test_a_server_that_lost_its_last_second_gets_it_again(autojump_clock):
    api = Api(job())

    async def script(sink):
        result = await everything(sink)
        await trio.sleep(1)
        api.server.restart()
        return result

    async with hosting(api, script):
        await trio.sleep(0.6)
        api.server.save()
        await trio.sleep(0.3)
        api.server.restart()
        await api.over.wait()
    check(api.server)


async def test_a_server_that_lost_everything_gets_every_channel_again(autojump_clock):
    api = Api(job())
    async with hosting(api, everything):
        await trio.sleep(0.6)
        api.server.restart()
        await api.over.wait()
    check(api.server)


async def test_a_silent_run_is_spoken_of_three_times_within_its_lease(autojump_clock):
    api = Api(job())

    async def script(sink):
        await trio.sleep(60)

    async with hosting(api, script):
        await api.over.wait()
    times = [time for time, _ in api.reports]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= LEASE_S / 3 + 0.1


async def test_a_run_that_is_to_be_cancelled_ends_as_that(autojump_clock):
    api = Api(job())

    async def script(sink):
        await sink.text("so far")
        await trio.sleep_forever()

    async with hosting(api, script) as (_, executor, _):
        await trio.sleep(1)
        api.cancel = True
        await api.over.wait()
        assert executor.cancelled == 1
    assert (api.server.replica.text(), api.server.ending.status) == ("so far", EndingStatus.CANCELLED)


@pytest.mark.parametrize("code", ["LEASE_LOST", "TERMINAL", "NOT_FOUND", "ACCESS_DENIED"])
async def test_a_run_that_was_taken_is_stopped_without_a_word(autojump_clock, code):
    api = Api(job())

    async def script(sink):
        await trio.sleep_forever()

    async with hosting(api, script) as (host, executor, monitor):
        await trio.sleep(1)
        api.report_answers = [(409, {"error": "no more", "code": code})]
        await trio.sleep(10)
        assert (executor.cancelled, host.runs) == (1, {})
        said = len(api.reports)
        await trio.sleep(60)
        assert len(api.reports) == said
    assert monitor.told[-1] == "lost"


async def test_what_the_server_refuses_ends_the_run_with_its_reason(autojump_clock):
    api = Api(job())

    async def script(sink):
        await sink.app({"name": "a", "address": "b", "previewUrl": "c"})
        await trio.sleep_forever()

    async with hosting(api, script):
        api.report_answers = [(400, {"error": "`app`: expected another", "code": "INVALID_PAYLOAD"})]
        await api.over.wait()
    assert api.server.ending.status is EndingStatus.FAILED
    assert "expected another" in api.server.ending.error


async def test_a_failure_has_its_type(autojump_clock):
    api = Api(job())

    async def script(sink):
        await sink.text("so far")
        raise RunFailed("no memory", type="out_of_memory")

    async with hosting(api, script):
        await api.over.wait()
    ending = api.server.ending
    assert (api.server.replica.text(), ending.error, ending.error_type) == ("so far", "no memory", "out_of_memory")


async def test_a_defect_of_an_agent_tells_nothing_of_its_inside(autojump_clock):
    api = Api(job())

    async def script(sink):
        raise ValueError("secret")

    async with hosting(api, script):
        await api.over.wait()
    assert api.server.ending.error == "the run failed inside the executor host one; the cause has been logged"


async def test_a_skill_is_answered_by_a_reply_and_the_answer_acknowledged(autojump_clock):
    api = Api(job())
    results = []

    async def script(sink):
        results.append(await sink.skill("draw", "show", {"n": 1}))
        await trio.sleep(1)

    async with hosting(api, script):
        await api.was_asked.wait()
        api.skills = [{"type": "skill", "id": "1", "success": True, "result": {"ok": True}}]
        await api.over.wait()
    assert (results, api.skills) == ([{"ok": True}], [])


async def test_no_more_runs_are_taken_than_there_are_slots(autojump_clock):
    api = Api(*[job(number, lease=f"lease {number}") for number in range(2, 8)])
    at_once, most = 0, 0

    async def script(sink):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await trio.sleep(1)
        at_once -= 1

    api._report = lambda content, body: httpx.Response(200, json={"offset": 0, "cancel": False})
    async with hosting(api, script, slots=2):
        await trio.sleep(20)
    assert (most, len({body["subtask_id"] for _, body in api.reports})) == (2, 6)
    assert {body["limit"] for _, body in api.fetches} <= {1, 2}


async def test_a_run_that_came_back_to_the_queue_begins_anew_though_its_attempt_is_the_same(autojump_clock):
    api = Api(job())

    async def script(sink):
        await sink.text("so far")
        await trio.sleep_forever()

    api._report = lambda content, body: httpx.Response(200, json={"cancel": False})
    async with hosting(api, script) as (host, executor, monitor):
        await trio.sleep(1)
        api.jobs.append(job(lease="another"))
        await trio.sleep(30)
        (run,) = host.runs.values()
        assert (run.job.lease, run.lost) == ("another", False)
        assert (executor.cancelled, monitor.told[-1]) == (1, "lost")


async def test_a_drain_takes_nothing_more_and_lets_runs_end(autojump_clock):
    api = Api(job())

    async def script(sink):
        await trio.sleep(5)
        await sink.text("done")

    async with hosting(api, script) as (host, _, _):
        await trio.sleep(1)
        api.jobs.append(job(9))
        await host.drain(trio.current_time() + 30, trio.Event())
        assert api.server.ending.status is EndingStatus.COMPLETED
        assert len(api.jobs) == 1


@pytest.mark.parametrize("hurried", [False, True])
async def test_what_does_not_end_in_time_is_left_to_the_server(autojump_clock, hurried):
    api = Api(job())

    async def script(sink):
        await sink.text("so far")
        await trio.sleep_forever()

    async with hosting(api, script) as (host, executor, monitor):
        await trio.sleep(1)
        hurry, began = trio.Event(), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.drain, began + (math.inf if hurried else 10), hurry)
            await trio.sleep(5)
            if hurried:
                hurry.set()
        assert trio.current_time() - began == (5 if hurried else 10)
    assert executor.cancelled == 1
    assert (api.server.replica.text(), api.server.ending) == ("so far", None)
    assert monitor.told[-1] == "lost"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, {"error": "Invalid or expired token", "code": "NOT_AUTHENTICATED"}), NotAuthenticated),
        ((403, {"error": "this token is for 'a', not for 'gpu'", "code": "ACCESS_DENIED"}), AccessDenied),
        ((404, {"error": "no such path", "code": "NOT_FOUND"}), Stranger),
        ((200, "hello"), Stranger),
        ((404, "hello"), Stranger),
    ],
)
async def test_a_server_that_refuses_for_good_ends_the_host_with_its_reason(autojump_clock, answer, error):
    api = Api()
    api.fetch_answers = [answer]
    with pytest.RaisesGroup(error, flatten_subgroups=True):
        async with hosting(api, everything):
            await trio.sleep_forever()


async def test_a_target_that_nobody_here_serves_is_a_clear_failure(autojump_clock):
    api = Api(job(target="tpu"))
    async with hosting(api, everything):
        await api.over.wait()
    assert "'tpu'" in api.server.ending.error


def test_targets_go_to_the_executor_of_their_name_or_one_that_is_named():
    executors = {"process": object(), "docker": object()}
    assert assign(["gpu", "docker", "a=docker"], executors, "process") == {
        "gpu": "process",
        "docker": "docker",
        "a": "docker",
    }
    with pytest.raises(ConfigError, match=r"'podman'.*process, docker"):
        assign(["gpu=podman"], executors, "process")
    with pytest.raises(ConfigError, match="at least one target"):
        assign([], executors, "process")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.é.c", "eyJhbGciOiJIUzI1NiJ9.eyJzY29wZSI6InVzZXIifQ.x"])
def test_a_token_that_is_for_no_host_is_said_to_be_none(token):
    with pytest.raises(ConfigError, match="scope"):
        targets_of(token)
