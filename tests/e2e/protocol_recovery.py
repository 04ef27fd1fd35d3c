"""How clients, devices and the server get over a loss; each function is one."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.e2e.protocol_scene import Story


def page_refresh(story: Story) -> None:
    sent = story.send("/long 150")
    story.socket.wait("chat:chunk", lambda told: told["subtask_id"] == sent["assistant_subtask_id"])
    viewer = story.viewer()
    streaming = viewer("task:join", {"task_id": sent["task_id"]})["streaming"]
    had = streaming["cached_content"]
    whole = viewer.ended(sent)["result"]["value"]
    assert had
    assert had + viewer.text(sent, len(had)) == whole
    viewer.lose()
    story.seen.note("recovery page refresh")


def reconnect(story: Story) -> None:
    viewer = story.viewer()
    sent = viewer("chat:send", {"team_id": story.team, "message": "/long 150"})
    cursor = viewer("task:join", {"task_id": sent["task_id"]})["revision"]
    viewer.lose()
    viewer.come_back()
    ack = viewer("task:join", {"task_id": sent["task_id"], "after_revision": cursor})
    assert ack["revision"] >= cursor
    assert [row["id"] for row in ack["subtasks"]] in ([], [sent["assistant_subtask_id"]])
    had = ack["streaming"]["cached_content"]
    whole = viewer.ended(sent)["result"]["value"]
    assert had + viewer.text(sent, len(had)) == whole
    viewer.lose()
    story.seen.note("recovery reconnect")


def return_to_a_tab(story: Story) -> None:
    first = story.said("/echo first")
    viewer = story.viewer()
    sent = story.said("/echo second", task_id=first["task_id"])
    rows = viewer("task:join", {"task_id": first["task_id"], "after_message_id": first["message_id"]})["subtasks"]
    assert [row["id"] for row in rows] == [
        first["assistant_subtask_id"],
        sent["subtask_id"],
        sent["assistant_subtask_id"],
    ]
    viewer.lose()
    story.seen.note("recovery return to a tab")


def interrupted_stream(story: Story) -> None:
    viewer = story.viewer()
    sent = viewer("chat:send", {"team_id": story.team, "message": "/long 150"})
    row = sent["assistant_subtask_id"]
    viewer.wait("chat:chunk", lambda told: told["subtask_id"] == row and told["offset"] > 100)
    had = viewer.text(sent)
    viewer.lose()
    viewer.come_back()
    asked = {"task_id": sent["task_id"], "subtask_id": row, "attempt": 1, "offset": len(had)}
    assert viewer("chat:resume", asked)["offset"] == len(had)
    whole = viewer.ended(sent)["result"]["value"]
    assert had + viewer.text(sent, len(had)) == whole
    viewer.lose()
    story.seen.note("recovery interrupted stream")


def slow_reader(story: Story) -> None:
    """By long-polling, a client that does not ask for a while is one that reads nothing."""
    with httpx.Client(base_url=story.server.url, timeout=20) as client:
        path = "/socket.io/?EIO=4&transport=polling"
        path += "&sid=" + json.loads(client.get(path).text[1:])["sid"]
        client.post(path, content="40/chat," + json.dumps({"token": story.token})).raise_for_status()
        client.get(path).raise_for_status()
        sent = story.send("/fast 20000")
        client.post(path, content="42/chat,1" + json.dumps(["task:join", {"task_id": sent["task_id"]}]))
        whole = story.socket.ended(sent)["result"]
        text, chunks, over = "", 0, False
        while not over:
            for packet in client.get(path).text.split("\x1e"):
                if packet == "2":
                    client.post(path, content="3")
                kind, _, rest = packet.partition(",")
                if kind == "43/chat" or packet.startswith("43/chat,"):
                    ack = json.loads(rest.lstrip("0123456789"))[0]
                    text += (ack["streaming"] or {}).get("cached_content", "")
                elif kind == "42/chat":
                    name, told = json.loads(rest)
                    if name == "chat:chunk" and told["subtask_id"] == sent["assistant_subtask_id"]:
                        assert told["offset"] == len(text), "a gap or a repeat"
                        text, chunks = text + told["content"], chunks + 1
                    over = over or (name == "chat:done" and told["subtask_id"] == sent["assistant_subtask_id"])
    assert text.startswith(whole["value"][:10_000])
    assert len(text) > 100_000
    assert chunks < 100, "the text was not joined"
    story.seen.note("recovery slow reader")


@contextmanager
def device_lost(story: Story) -> Iterator[None]:
    """A device goes and stays away, while other things are done."""
    lost = story.device("lost")
    sent = story.send("work", device_id="lost")
    job = lost.wait("task:execute")
    lost("task:progress", {"subtask_id": job["subtask_id"], "delta": "so far", "offset": 0})
    lost.lose()
    yield
    assert story.socket.ended(sent, "chat:error")["type"] == "device_lost"
    story.seen.note("recovery device lost")


def server_killed(story: Story) -> None:
    """What the server ran itself has failed and keeps its text; what a device runs goes on."""
    desk = story.device("desk")
    here, there = story.send("/slow"), story.send("work", device_id="desk")
    run = {name: desk.wait("task:execute")[name] for name in ("subtask_id", "attempt")}
    desk("task:progress", {**run, "delta": "before", "offset": 0})
    row = here["assistant_subtask_id"]
    story.socket.wait("chat:chunk", lambda told: told["subtask_id"] == row and told["offset"] > 20)
    time.sleep(1.2)  # a worker alone saves once a second
    story.server.end(signal.SIGKILL)
    story.server.start()
    story.socket.come_back()
    desk.come_back()
    failed = story.socket("task:join", {"task_id": here["task_id"]})["subtasks"][-1]
    assert (failed["status"], failed["error_type"]) == ("FAILED", "worker_lost")
    assert failed["result"]["value"].startswith("Slowly, one word")
    story.socket("task:join", {"task_id": there["task_id"]})
    (named,) = desk("device:register", {"device_id": "desk", "name": "Desk"})["running"]
    assert (named["subtask_id"], named["offset"]) == (run["subtask_id"], len("before"))
    desk("task:progress", {**run, "delta": " and after", "offset": named["offset"]})
    desk("task:complete", {**run, "status": "COMPLETED"})
    assert story.socket.ended(there)["result"]["value"] == "before and after"
    desk.lose()
    story.seen.note("recovery server killed")
