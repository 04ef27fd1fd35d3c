"""Spans of a deployment, as OpenTelemetry's SDK gets them; and that nothing secret is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from wegent.core.clock import SystemClock
from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Executor, Sink
from wegent.core.runs import Runs
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.executors.chat_shell import ChatShell
from wegent.executors.local import LocalExecutor
from wegent.executors.workspace import Workspaces
from wegent.protocol.chat_shell import ResponseRequest
from wegent.server.ports.engine import Completion, Engine
from wegent.server.sending import Sending
from wegent.storage import open_store
from wegent.storage.tracing import about
from wegent.testing.harness import Application, serving

pytest.importorskip("opentelemetry.sdk", reason="the extra `tracing` is not installed")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from wegent.tracing.tracer import OpenTelemetryTracer

SECRET = "swordfish"


class Traces:
    """A tracer, and what it has told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetryTracer(self._provider)

    def named(self, name: str, **attributes: Any) -> list[Any]:
        return [
            span
            for span in self._exporter.get_finished_spans()
            if span.name == name and attributes.items() <= dict(span.attributes).items()
        ]

    def assert_nothing_secret(self) -> None:
        for span in self._exporter.get_finished_spans():
            assert SECRET not in span.to_json().lower()
            assert "alice" not in span.to_json().lower()


class Traced(Application):
    """The application with a tracer."""

    def __init__(self, executor: Executor, traces: Traces) -> None:
        self.traces = traces
        super().__init__(executor)
        self.sessions.tracer = traces.tracer

    def make_runs(self, executors: Any) -> Runs:
        runs = super().make_runs(executors)
        runs._tracer = self.traces.tracer
        return runs

    def make_sending(self) -> Sending:
        sending = super().make_sending()
        sending._tracer = self.traces.tracer
        return sending


class Failing(Engine):
    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        await sink.text(SECRET)
        raise RunFailed(f"No: {SECRET}", type="model")


async def asked(traces: Traces, executor: Executor) -> dict[str, Any]:
    async with serving(Traced(executor, traces)) as app:
        client = await app.client("alice")
        await client.emit("chat:send", {"team_id": app.team_id, "message": f"/echo {SECRET}"})
        ending: dict[str, Any] = await client.wait_for(
            "chat:error" if isinstance(executor, ChatShell) and executor._choice._default == "failing" else "chat:done"
        )
        with trio.fail_after(10):
            while not traces.named("process_task"):  # noqa: ASYNC110 - the span ends behind the ending
                await trio.sleep(0.01)
    return ending


async def test_event_run_and_answer_are_one_trace() -> None:
    traces = Traces()
    shell = ChatShell({"offline": OfflineEngine(OfflineConfig(tokens_per_s=0))}, tracer=traces.tracer)
    done = await asked(traces, shell)
    (event,) = traces.named("ws.event", event_type="chat:send")
    (run,) = traces.named("process_task")
    (stream,) = traces.named("chat.stream")
    assert run.parent.span_id == event.context.span_id
    assert stream.parent.span_id == run.context.span_id
    assert event.context.trace_id == run.context.trace_id == stream.context.trace_id
    assert event.attributes["user_id"] > 0
    assert dict(run.attributes) == {
        "task.id": done["task_id"],
        "subtask_id": done["subtask_id"],
        "executor.type": "chat_shell",
        "outcome": "COMPLETED",
    }
    assert stream.attributes["subtask_id"] == done["subtask_id"]
    assert stream.attributes["model"] == "offline"
    assert stream.attributes["duration"] >= 0
    traces.assert_nothing_secret()


async def test_of_a_failure_only_its_class_is_told() -> None:
    traces = Traces()
    await asked(traces, ChatShell({"failing": Failing()}, "failing", tracer=traces.tracer))
    (stream,) = traces.named("chat.stream")
    (run,) = traces.named("process_task")
    assert stream.attributes["error.type"] == "RunFailed"
    assert not stream.status.is_ok
    assert run.attributes["outcome"] == "FAILED"
    assert not stream.events
    traces.assert_nothing_secret()


async def test_a_job_carries_the_span_of_its_run(tmp_path: Path) -> None:
    traces = Traces()
    done = await asked(traces, LocalExecutor(Workspaces(tmp_path), {"Chat": "tests.tracing.agent:run"}))
    (run,) = traces.named("process_task")
    assert (
        done["result"]["value"]
        == f"00-{run.context.trace_id:032x}-{run.context.span_id:016x}-{run.context.trace_flags:02x}"
    )


async def test_statements_are_told_within_the_span_that_asked_for_them(tmp_path: Path) -> None:
    traces = Traces()
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    async with open_store(url, clock=SystemClock(), tracer=traces.tracer) as store:
        await store.read(lambda unit: unit.user(1))
        assert traces.named("db.query") == []  # nobody's span is under way
        with traces.tracer.span("asks", {}):
            await store.write(lambda unit: unit.add_user("alice", password_hash=SECRET))
            await store.read(lambda unit: unit.user(1))
    (asks,) = traces.named("asks")
    added = traces.named("db.query", operation="INSERT", table="users")
    read = traces.named("db.query", operation="SELECT", table="users")
    assert added
    assert read
    for span in [*added, *read]:
        assert span.parent.span_id == asks.context.span_id
        assert span.attributes["duration"] >= 0
    traces.assert_nothing_secret()


@pytest.mark.parametrize(
    ("statement", "operation", "table"),
    [
        ("SELECT a, b\nFROM users WHERE x = 'FROM y'", "SELECT", "users"),
        ('INSERT INTO "tasks" (a) VALUES (?)', "INSERT", "tasks"),
        ("UPDATE `tasks` SET revision = revision + 1", "UPDATE", "tasks"),
        ("DELETE FROM tokens", "DELETE", "tokens"),
    ],
)
def test_a_statement_is_told_by_operation_and_table(statement: str, operation: str, table: str) -> None:
    assert about(statement) == {"operation": operation, "table": table}


@pytest.mark.parametrize("parent", ["", "nonsense", "00-0-0-01"])
def test_a_parent_that_is_none_begins_a_trace(parent: str) -> None:
    traces = Traces()
    with traces.tracer.span("s", {}, parent=parent):
        assert traces.tracer.traceparent() is not None
    assert traces.named("s")[0].parent is None
    assert traces.tracer.traceparent() is None
