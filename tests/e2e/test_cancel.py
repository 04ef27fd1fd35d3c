"""Runs that are cancelled, or fail, with a model's server behind them: a process asks it, we play it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from tests.e2e.raw_sockets import Raw
from tests.e2e.serving import Server, serving, until
from wegent.testing.provider import EVENT_STREAM, Call, answer, delta, event, finish, scripted_provider, until_closed

ENDINGS = ("chat:done", "chat:error", "chat:cancelled")
WORDS = "alpha beta 👋🏽 漢字 e\u0301 "


def said(error: str) -> bytes:
    return json.dumps({"error": {"message": error, "type": "some_error", "code": None}}).encode()


FAILURES: dict[str, tuple[bytes, str, str]] = {
    "unauthorized": (answer("401 Unauthorized", said("Your key is not known here.")), "Your key is not known", ""),
    "missing": (answer("404 Not Found", said("There is no model gpt-9.")), "no model gpt-9", ""),
    "busy": (answer("429 Too Many Requests", said("You have used up your quota.")), "used up your quota", ""),
    "broken": (answer("500 Internal Server Error", said("Kaboom")), "500", ""),
    "page": (answer("502 Bad Gateway", b"<html>nginx</html>", content_type="text/html"), "502", ""),
    "cut": (EVENT_STREAM + delta("as far as ") + delta("this"), "", "as far as this"),
    "error": (EVENT_STREAM + delta("kept") + event({"error": {"message": "The GPU is on fire."}}), "on fire", "kept"),
    "nonsense": (EVENT_STREAM + delta("kept") + b"9\r\ndata: {x\n\r\n", "", "kept"),
    "no HTTP": (b"\x15\x03\x01\x00\x02\x02\x28", "", ""),
    "silence and a close": (b"", "", ""),
}


class ModelServer:
    """Plays a part by the newest message; runs in a thread, for tests that wait for sockets themselves."""

    def __init__(self) -> None:
        self.base_url = ""
        self.streaming = 0
        self.closed_at: float | None = None
        """When the last connection that streamed, or was silent, was closed by its client."""
        self._ready = threading.Event()
        self._stop = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    def run(self) -> None:
        trio.run(self._serve)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with scripted_provider(self._play) as provider:
            self.base_url = provider.base_url
            self._ready.set()
            await self._stop.wait()

    def stop(self) -> None:
        assert self._token is not None
        self._token.run_sync_soon(self._stop.set)

    async def _play(self, call: Call) -> None:
        part = call.body["messages"][-1]["content"]
        if part in FAILURES:
            await call.send(FAILURES[part][0])
        elif part == "short":
            await call.send(EVENT_STREAM + delta("short") + finish())
        else:
            self.streaming, self.closed_at = self.streaming + 1, None
            async with trio.open_nursery() as nursery:
                if part != "silent":
                    nursery.start_soon(self._stream, call)
                await until_closed(call)
                self.closed_at = time.monotonic()
                nursery.cancel_scope.cancel()
            self.streaming -= 1

    async def _stream(self, call: Call) -> None:
        await call.send(EVENT_STREAM)
        while True:
            await call.send(delta(WORDS))
            await trio.sleep(0.02)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    model = ModelServer()
    thread = threading.Thread(target=model.run)
    thread.start()
    model._ready.wait(10)
    try:
        yield model
    finally:
        model.stop()
        thread.join(10)


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running


@pytest.fixture(scope="module")
def house(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = ["chat-shell.engine=openai", f"openai.base_url={model.base_url}", "openai.max_retries=0"]
    with serving(tmp_path_factory.mktemp("cancel"), *settings, "openai.api_key=sk-secret-4711") as running:
        yield running


@pytest.fixture(scope="module")
def token(house: Server) -> str:
    return house.login()


def send(client: Raw, message: str, **more: Any) -> dict[str, Any]:
    sent = client.call("chat:send", {"team_id": client.server.team_id, "message": message, **more})  # type: ignore[attr-defined]
    assert "error" not in sent, sent
    return dict(sent)


@pytest.fixture(autouse=True)
def team(house: Server, token: str) -> None:
    house.team_id = house.team(token)  # type: ignore[attr-defined]


def streamed(client: Raw, subtask_id: int, *, until_length: int = 0) -> tuple[str, str, dict[str, Any]]:
    """The text of a run's chunks, in order and whole, until it is so long, or else the ending; the last event."""
    text = ""
    while True:
        message = client.passed.pop(0) if client.passed else client.message()
        name, payload = message.get("event", ""), message.get("data", {})
        if payload.get("subtask_id") != subtask_id or name not in ("chat:chunk", *ENDINGS):
            continue
        if name in ENDINGS:
            return text, name, payload
        assert payload["offset"] == len(text)
        text += payload["content"]
        if until_length and len(text) >= until_length:
            return text, name, payload


def row_of(house: Server, token: str, sent: dict[str, Any]) -> dict[str, Any]:
    """The answer's row as `task:join` tells it to a fresh client."""
    with Raw(house, token) as fresh:
        rows = fresh.call("task:join", {"task_id": sent["task_id"]})["subtasks"]
    return next(dict(row) for row in rows if row["id"] == sent["assistant_subtask_id"])


def test_cancel_closes_the_models_connection_and_keeps_what_was_streamed(
    house: Server, token: str, model: ModelServer
) -> None:
    with Raw(house, token) as client:
        sent = send(client, "stream")
        answer_id = sent["assistant_subtask_id"]
        before, _, _ = streamed(client, answer_id, until_length=200)
        started = time.monotonic()
        assert client.call("chat:cancel", {"subtask_id": answer_id}) == {"success": True, "status": "CANCELLING"}
        passed = [message["event"] for message in client.passed]
        after = ""
        while "chat:cancelled" not in passed:
            message = client.passed.pop(0) if client.passed else client.message()
            passed.append(message["event"])
            if message["event"] == "chat:chunk":
                assert message["data"]["offset"] == len(before + after)
                after += message["data"]["content"]
        ending = message["data"]
        assert ending["result"]["value"] == before + after
        assert ending["offset"] == len(before + after)
        assert (WORDS * 1_000).startswith(before + after)
        status = client.event("task:status")
        assert status["status"] == "CANCELLED"
        assert status["revision"] >= ending["revision"]
        closed_at = until(lambda: model.closed_at)
        assert closed_at - started < 1.0
        assert client.call("chat:cancel", {"subtask_id": answer_id})["code"] == "CONFLICT"
        row = row_of(house, token, sent)
        assert (row["status"], row["result"]["value"]) == ("CANCELLED", before + after)
        again = send(client, "short", task_id=sent["task_id"])
        assert streamed(client, again["assistant_subtask_id"])[:2] == ("short", "chat:done")


def test_cancel_before_the_first_token(house: Server, token: str, model: ModelServer) -> None:
    with Raw(house, token) as client:
        sent = send(client, "silent")
        until(lambda: model.streaming)
        started = time.monotonic()
        client.call("chat:cancel", {"subtask_id": sent["assistant_subtask_id"], "partial_content": "ignored"})
        text, name, ending = streamed(client, sent["assistant_subtask_id"])
        assert (text, name, ending["result"]["value"], ending["offset"]) == ("", "chat:cancelled", "", 0)
        assert until(lambda: model.closed_at) - started < 1.0


def test_cancel_of_a_row_that_waits(house: Server, token: str, model: ModelServer) -> None:
    with Raw(house, token) as client:
        first = send(client, "stream")
        second = send(client, "stream", task_id=first["task_id"], if_running="queue")
        third = send(client, "short", task_id=first["task_id"], if_running="queue")
        cancelled = client.call("chat:cancel", {"subtask_id": second["assistant_subtask_id"]})
        assert cancelled == {"success": True, "status": "CANCELLED"}
        assert client.call("chat:cancel", {"subtask_id": second["assistant_subtask_id"]})["code"] == "CONFLICT"
        assert row_of(house, token, second)["status"] == "CANCELLED"
        assert row_of(house, token, first)["status"] in ("PENDING", "RUNNING")
        until(lambda: model.streaming)
        client.call("chat:cancel", {"subtask_id": first["assistant_subtask_id"]})
        endings = []
        while len(endings) < 3:
            message = client.passed.pop(0) if client.passed else client.message()
            if message.get("event") in ENDINGS:
                endings.append((message["data"]["subtask_id"], message["event"]))
        assert endings == [
            (second["assistant_subtask_id"], "chat:cancelled"),
            (first["assistant_subtask_id"], "chat:cancelled"),
            (third["assistant_subtask_id"], "chat:done"),
        ]


def test_many_cancels_at_once_have_one_ending(house: Server, token: str) -> None:
    with Raw(house, token) as client, Raw(house, token) as other:
        sent = send(client, "stream")
        answer_id = sent["assistant_subtask_id"]
        streamed(client, answer_id, until_length=20)
        assert "revision" in other.call("task:join", {"task_id": sent["task_id"]})
        for n in range(10):
            for each in (client, other):
                each.tell({"event": "chat:cancel", "data": {"subtask_id": answer_id}, "id": n})
        for each in (client, other):
            acks: list[Any] = []
            endings = 0
            while len(acks) < 10 or not endings:
                message = each.message()
                endings += message.get("event") in ENDINGS
                acks += [message["data"]] if "ack" in message else []
            assert all(ack.get("success") or ack["code"] == "CONFLICT" for ack in acks)
            each.call("task:leave", {"task_id": sent["task_id"]}, "last")
            assert endings + sum(message.get("event") in ENDINGS for message in each.passed) == 1


def test_somebody_else_cancels_nothing(house: Server, token: str, model: ModelServer) -> None:
    command = [sys.executable, "-m", "wegent.cli.main", "user", "add", "mallory", "--password-stdin"]
    subprocess.run([*command, "--data", str(house.data)], input="a long password\n", text=True, check=True, timeout=60)
    with Raw(house, token) as client, Raw(house, house.login("mallory", "a long password")) as mallory:
        sent = send(client, "stream")
        answer_id = sent["assistant_subtask_id"]
        streamed(client, answer_id, until_length=20)
        assert mallory.call("chat:cancel", {"subtask_id": answer_id})["code"] == "ACCESS_DENIED"
        assert row_of(house, token, sent)["status"] == "RUNNING"
        client.call("chat:cancel", {"subtask_id": answer_id})


def test_losing_every_client_stops_no_run(house: Server, token: str, model: ModelServer) -> None:
    with Raw(house, token) as client:
        sent = send(client, "stream")
        streamed(client, sent["assistant_subtask_id"], until_length=20)
        client.vanish()
    with Raw(house, token) as client:
        joined = client.call("task:join", {"task_id": sent["task_id"]})
        assert joined["streaming"]["subtask_id"] == sent["assistant_subtask_id"]
        assert joined["streaming"]["offset"] == len(joined["streaming"]["cached_content"])
        client.event("chat:chunk")
        client.call("chat:cancel", {"subtask_id": sent["assistant_subtask_id"]})
        client.event("chat:cancelled")


@pytest.mark.parametrize("part", FAILURES)
def test_a_providers_failure_is_an_error_with_a_clear_sentence(house: Server, token: str, part: str) -> None:
    _, sentence, kept = FAILURES[part]
    with Raw(house, token) as client:
        sent = send(client, part)
        text, name, ending = streamed(client, sent["assistant_subtask_id"])
        assert name == "chat:error"
        assert ending["type"] == "model"
        assert sentence in ending["error"]
        assert 20 < len(ending["error"]) < 500
        assert "Error(" not in ending["error"]
        assert "4711" not in ending["error"], "the key is not shown"
        assert text == ending["result"]["value"] == kept
        assert client.event("task:status")["status"] == "FAILED"
        row = row_of(house, token, sent)
        assert (row["status"], row["error_type"], row["result"]["value"]) == ("FAILED", "model", kept)
        assert row["error_message"] == ending["error"]
