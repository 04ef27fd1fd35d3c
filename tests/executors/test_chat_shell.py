"""The executor `chat_shell`: from a job to a request, the choice of an engine, and the turn one waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from wegent.core.errors import ConfigError, RunFailed
from wegent.core.model import Job
from wegent.core.ports.executor import Sink
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.executors.chat_shell import ChatShell, RemoteChatShell, model_of, request_of
from wegent.protocol import jobs
from wegent.protocol.chat_shell import ResponseRequest
from wegent.server.ports.engine import Completion, Engine
from wegent.testing.sinks import MemorySink


def job(prompt: str = "Hello", history: tuple[jobs.JobMessage, ...] = (), system: str = "", **model: Any) -> Job:
    spec = jobs.Job(
        task_id=1,
        subtask_id=2,
        message_id=3,
        attempt=4,
        lease="x",
        lease_s=15,
        user=jobs.JobUser(id=7, name="ann"),
        team=jobs.JobTeam(id=1, name="assistant", namespace="default"),
        bot=jobs.JobBot(name="assistant", shell_type="Chat", system_prompt=system, model=model),
        prompt=prompt,
        history=history,
        title="t",
        auth_token="",
        created_at=datetime.now(UTC),
    )
    return Job(1, 2, 3, 4, 5, "x", "chat_shell", 7, spec)


class Recorder(Engine):
    """An engine that answers its own name, and waits for leave if it is asked to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: list[ResponseRequest] = []
        self.leave = trio.Event()
        self.leave.set()

    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        self.requests.append(request)
        await self.leave.wait()
        await sink.text(self.name)
        return Completion(self.name, "stop", {"total_tokens": 3})


async def test_a_job_is_answered_and_its_outcome_tells_model_and_usage() -> None:
    sink = MemorySink()
    outcome = await ChatShell({"offline": OfflineEngine(OfflineConfig(tokens_per_s=0))}).run(job("/echo hi"), sink)
    assert sink.content == "hi"
    assert outcome.result["model"] == "offline"
    assert outcome.result["stop_reason"] == "stop"
    assert outcome.result["usage"]["total_tokens"] > 0


def test_a_request_holds_prompt_history_system_and_whose_it_is() -> None:
    history = (
        jobs.JobMessage(role="USER", content="One"),
        jobs.JobMessage(role="ASSISTANT", content="Two"),
        jobs.JobMessage(role="ASSISTANT", content=""),
    )
    request = request_of(job("Three", history, "Be brief", features={"deep_thinking": False, "web_search": True}))
    assert [(m.role, m.content) for m in request.messages] == [
        ("user", "One"),
        ("assistant", "Two"),
        ("user", "Three"),
    ]
    assert request.system == "Be brief"
    assert request.metadata.request_id == "1-2-4"
    assert (request.metadata.user_id, request.metadata.user_name) == (7, "ann")
    assert (request.features.deep_thinking, request.features.web_search) == (False, True)
    assert request.model_config.model_id == "default"
    assert request.model_config.options is None


def test_where_several_people_speak_they_are_named() -> None:
    history = (
        jobs.JobMessage(role="user", content="Tea?", sender="bob"),
        jobs.JobMessage(role="assistant", content="Yes.", sender=None),
    )
    contents = [message.content for message in request_of(job("Me too", history)).messages]
    assert contents == ["bob: Tea?", "Yes.", "ann: Me too"]


def test_a_model_is_read_from_its_config_or_its_whole_spec() -> None:
    config = {"model_id": "m", "base_url": "http://x/v1", "temperature": 0.5, "options": {"top_p": 1}}
    for described in (config, {"modelConfig": config, "contextWindow": 9, "maxOutputTokens": 5, "features": {}}):
        model = model_of(described)
        assert (model.model_id, model.base_url) == ("m", "http://x/v1")
        assert model.options == {"temperature": 0.5, "top_p": 1}
    assert model.max_output_tokens == 5


@pytest.mark.parametrize(
    "wrong", [{"model_id": 7}, {"base_url": "http://x"}, {"model_id": "m", "timeout": "soon"}, {"engine": ["x"]}]
)
def test_a_model_that_is_described_wrongly_fails_the_run_clearly(wrong: dict[str, Any]) -> None:
    with pytest.raises(RunFailed, match="described wrongly") as caught:
        request_of(job(**wrong))
    assert caught.value.type == "model"


@pytest.mark.parametrize(
    ("model", "chosen"),
    [
        ({}, "offline"),
        ({"model_id": "m"}, "offline"),
        ({"model_id": "m", "base_url": "http://x/v1"}, "openai"),
        ({"model_id": "m", "api_key": "k"}, "openai"),
        ({"engine": "offline", "model_id": "m", "api_key": "k"}, "offline"),
        ({"engine": "openai", "model_id": "m"}, "openai"),
    ],
)
async def test_the_model_chooses_the_engine(model: dict[str, Any], chosen: str) -> None:
    sink = MemorySink()
    await ChatShell({name: Recorder(name) for name in ("offline", "openai")}).run(job(**model), sink)
    assert sink.content == chosen


async def test_an_engine_that_is_not_there_fails_the_run_clearly() -> None:
    with pytest.raises(RunFailed, match="the engine `magic`, but there are only: offline"):
        await ChatShell({"offline": Recorder("offline")}).run(job(engine="magic"), MemorySink())


def test_a_default_that_is_not_there_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigError, match="`openai`"):
        ChatShell({"offline": Recorder("offline")}, "openai")


async def test_no_more_chats_run_at_once_than_may() -> None:
    engine = Recorder("offline")
    engine.leave = trio.Event()
    shell = ChatShell({"offline": engine}, max_concurrent_chats=2)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(shell.run, job(), MemorySink())
        await trio.testing.wait_all_tasks_blocked()
        assert len(engine.requests) == 2
        engine.leave.set()
    assert len(engine.requests) == 5


async def test_a_remote_chat_shell_chooses_for_itself() -> None:
    service = Recorder("there")
    sink = MemorySink()
    outcome = await RemoteChatShell(service).run(job(engine="magic"), sink)
    assert sink.content == "there"
    assert outcome.result["model"] == "there"
    assert service.requests[0].model_config.engine == "magic"
