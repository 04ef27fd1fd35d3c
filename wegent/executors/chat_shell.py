"""Executor `chat_shell`: a job is answered by a model, in this process or in a Chat Shell service (protocol §9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import attrs
import trio

from wegent.codec import CodecError, convert
from wegent.core.errors import RunFailed
from wegent.core.model import Job, Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.core.ports.tracing import Attribute, Tracer
from wegent.engines.choice import EngineChoice
from wegent.executors.toolbox import Toolbox
from wegent.protocol import jobs
from wegent.protocol.chat_shell import UNNAMED, Features, ModelConfig, ModelMessage, ResponseMetadata, ResponseRequest
from wegent.server.ports.engine import Completion, Engine
from wegent.server.ports.tool import Asked


class ChatShell(Executor):
    """Runs an engine in this process; at most `max_concurrent_chats` at once, the next wait their turn."""

    __slots__ = ("_choice", "_slots", "_toolbox", "_tracer")
    recovers: ClassVar[Literal["fail", "rerun", "resume"]] = "rerun"

    def __init__(
        self,
        engines: Mapping[str, Engine],
        default_engine: str = "offline",
        max_concurrent_chats: int = 50,
        toolbox: Toolbox | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._toolbox = toolbox or Toolbox()
        self._tracer = tracer
        self._choice = EngineChoice(engines, default_engine)
        self._slots = trio.CapacityLimiter(max_concurrent_chats)

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Answer; see `Executor.run`."""
        request = request_of(job)
        engine = self._choice.of(request.model_config)
        async with self._slots:
            answer = partial(self._toolbox.answer, engine, request, asked_of(job, request.features), sink)
            return outcome_of(await traced(self._tracer, request, answer))


class RemoteChatShell(Executor):
    """Has a Chat Shell service answer, which chooses the engine and counts its chats itself; tools are used here."""

    __slots__ = ("_service", "_toolbox", "_tracer")
    recovers: ClassVar[Literal["fail", "rerun", "resume"]] = "rerun"

    def __init__(self, service: Engine, toolbox: Toolbox | None = None, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._service = service
        self._toolbox = toolbox or Toolbox()

    async def run(self, job: Job, sink: Sink) -> Outcome:
        """Answer; see `Executor.run`."""
        request = request_of(job)
        answer = partial(self._toolbox.answer, self._service, request, asked_of(job, request.features), sink)
        return outcome_of(await traced(self._tracer, request, answer))


async def traced(
    tracer: Tracer | None, request: ResponseRequest, answer: Callable[[], Awaitable[Completion]]
) -> Completion:
    """Have an answer given, within the span `chat.stream` where there is a tracer."""
    if tracer is None:
        return await answer()
    began = trio.current_time()
    about: dict[str, Attribute] = {"subtask_id": request.metadata.subtask_id or 0}
    with tracer.span("chat.stream", about | {"model": request.model_config.model_id}) as span:
        try:
            completion = await answer()
            span.set("model", completion.model)
        finally:
            span.set("duration", trio.current_time() - began)
    return completion


def outcome_of(completion: Completion) -> Outcome:
    """What of a completion belongs in the row."""
    told = {"model": completion.model, "usage": completion.usage, "stop_reason": completion.stop_reason}
    return Outcome({name: value for name, value in told.items() if value})


def request_of(job: Job) -> ResponseRequest:
    """The request that a job amounts to.

    Raises:
        RunFailed: its bot's model is not described as the protocol says.
    """
    spec: jobs.Job = job.spec
    return ResponseRequest(
        model_config=model_of(spec.bot.model),
        messages=messages_of(spec.history, spec.prompt, spec.user.name),
        system=spec.bot.system_prompt or None,
        tools=None,
        features=features_of(spec.bot.model),
        metadata=ResponseMetadata(
            request_id=f"{job.task_id}-{job.subtask_id}-{job.attempt}",
            task_id=job.task_id,
            subtask_id=job.subtask_id,
            user_id=spec.user.id,
            user_name=spec.user.name,
        ),
    )


def asked_of(job: Job, features: Features) -> Asked:
    """For whom a job's answer is, and what it may use."""
    spec: jobs.Job = job.spec
    servers = spec.bot.mcp_servers
    return Asked(
        user_id=spec.user.id,
        user_name=spec.user.name,
        task_id=job.task_id,
        subtask_id=job.subtask_id,
        deep_thinking=features.deep_thinking,
        web_search=features.web_search,
        mcp_servers=servers if isinstance(servers, Mapping) else {},
    )


def features_of(described: Mapping[str, Any]) -> Features:
    """What the asker wants the answer to use, as the job carries it beside the model."""
    wanted = described.get("features")
    wanted = wanted if isinstance(wanted, Mapping) else {}
    return Features(
        deep_thinking=bool(wanted.get("deep_thinking", True)), web_search=bool(wanted.get("web_search", False))
    )


_MODEL_FIELDS = frozenset(field.name for field in attrs.fields(ModelConfig))


def model_of(described: Mapping[str, Any]) -> ModelConfig:
    """The model that a Model's `modelConfig` describes, or its whole `spec`; what it adds goes to the endpoint.

    Raises:
        RunFailed: a field is missing or wrong.
    """
    outer = dict(described)
    inner = outer.pop("modelConfig", None)
    fields = {**inner} if isinstance(inner, Mapping) else outer
    if "max_output_tokens" not in fields and "maxOutputTokens" in described:
        fields["max_output_tokens"] = described["maxOutputTokens"]
    for beside in ("maxOutputTokens", "contextWindow", "features"):
        fields.pop(beside, None)
    added = {name: fields.pop(name) for name in [*fields] if name not in _MODEL_FIELDS}
    if added:
        fields["options"] = {**added, **(fields.get("options") or {})}
    if "model_id" not in fields and "base_url" not in fields:
        fields["model_id"] = fields.get("engine") or UNNAMED
    try:
        return convert(fields, ModelConfig)
    except CodecError as error:
        raise RunFailed(f"The bot's model is described wrongly: {error.sentence}.", type="model") from error


def messages_of(history: Sequence[jobs.JobMessage], prompt: str, asker: str) -> tuple[ModelMessage, ...]:
    """The conversation as a model takes it. Where several people speak, their messages begin with their names."""
    said = [*history, jobs.JobMessage(role="user", content=prompt, sender=asker)]
    people = {message.sender for message in said if message.sender and message.role.lower() == "user"}
    return tuple(_message(message, named=len(people) > 1) for message in said if message.content)


def _message(message: jobs.JobMessage, *, named: bool) -> ModelMessage:
    role = message.role.lower()
    prefix = f"{message.sender}: " if named and message.sender and role == "user" else ""
    return ModelMessage(role=role, content=prefix + message.content)
