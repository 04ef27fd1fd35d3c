"""A device that keeps to docs/reference/devices.md, whatever happens to its connection and to the server."""

import random

import trio
from attrs import define

from wegent.core.errors import WegentError
from wegent.server.owners import device_owner
from wegent.testing.memory_client import ConnectionLost
from wegent.testing.memory_device import MemoryDevice

GONE = ("TERMINAL", "LEASE_LOST", "ACCESS_DENIED", "NOT_FOUND")


@define(eq=False)
class Work:
    """A run as the device has it: what it says in the end, how much of it by now, and what the server has of that."""

    task_id: int
    subtask_id: int
    attempt: int
    text: str
    ending: str
    said: int = 0
    known: int = 0
    stopping: bool = False
    over: bool = False


class FaithfulDevice:
    """One device, which says random texts in random steps. `works` are all runs that it was ever given."""

    def __init__(self, app, rng: random.Random, device_id="box", *, slots=3):
        self.app = app
        self.rng = rng
        self.slots = slots
        self.box = MemoryDevice(app, device_id=device_id, slot_max=slots)
        self.box.client.on_frame = self._hear
        self.works: dict[tuple[int, int], Work] = {}
        self.complaints: list[str] = []
        self.registered = False

    def active(self):
        return [work for work in self.works.values() if not work.over]

    def _hear(self, frame):
        if frame.name == "task:execute":
            self._execute(frame.data)
        elif frame.name == "task:cancel":
            work = self.works.get((frame.data["subtask_id"], frame.data["attempt"]))
            if work is not None:
                work.stopping = True

    def _execute(self, job):
        for work in self.active():
            if work.subtask_id == job["subtask_id"]:
                work.over = True  # an earlier attempt
        key = job["subtask_id"], job["attempt"]
        if key in self.works:
            self.complaints.append(f"{key} was given twice")
            return
        text = "".join(self.rng.choices(["a", "日本", "👋🏽", "\n", "xyz "], k=self.rng.randrange(12)))
        ending = self.rng.choice(["COMPLETED", "COMPLETED", "COMPLETED", "FAILED"])
        self.works[key] = Work(job["task_id"], *key, text, ending)
        held = self.app.peek(lambda unit: unit.holding(device_owner(self.app.users["alice"], self.box.device_id)))
        if held > self.slots:
            self.complaints.append(f"{held} runs in {self.slots} slots")

    async def live(self, seconds: float):
        """Come and go for so long; then stay."""
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            with trio.move_on_after(self.rng.choice([0.3, 3.0, 20.0, 70.0])):
                await self.stay()
            self.registered = False
            self.box.client.disconnect()
            await trio.sleep(self.rng.choice([0.0, 0.0, 0.5, 4.0, 30.0, 70.0]))
        await self.stay()

    async def stay(self):
        """Be connected and work, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            while True:
                try:
                    if not self.registered or not self.box.client.connected:
                        await self._connect()
                    await self._work()
                except (ConnectionLost, WegentError):
                    self.registered = False
                await trio.sleep(self.rng.choice([0.0, 0.01, 0.3]))

    async def _connect(self):
        before = set(self.works)
        ack = await self.box.connect()
        if "code" in ack:
            return
        self.registered = True
        named = {(run["subtask_id"], run["attempt"]): run for run in ack["running"]}
        for key, run in named.items():
            work = self.works.get(key)
            if work is None or work.over:
                await self._say_lost(run)
            else:
                work.known = run["offset"]
                work.stopping = work.stopping or run["status"] == "CANCELLING"
        for key in before - set(named):
            work = self.works[key]
            work.over = work.over or work.said < len(work.text)  # else its ending may have been committed: say it again

    async def _say_lost(self, run):
        report = {"attempt": run["attempt"], "error_message": "I do not have it"}
        while True:
            ack = await self.box.complete(run["subtask_id"], "FAILED", **report)
            if ack.get("code") != "OVERLOADED":
                break
            await trio.sleep(0.1)
        if ack.get("code") not in (None, "CONFLICT", *GONE):
            self.complaints.append(f"{run} can't be given up: {ack}")

    async def _work(self):
        for work in self.active():
            if work.stopping or (work.said == len(work.text) and self.rng.random() < 0.5):
                await self._end(work)
            else:
                await self._say(work)

    async def _say(self, work):
        work.said = min(len(work.text), work.said + self.rng.randrange(4))
        start = self.rng.randrange(work.known + 1)  # it may repeat what the server has
        style = self.rng.randrange(3)
        if style == 0:
            report = {"delta": work.text[start : work.said], "offset": start}
        elif style == 1:
            report = {"result": {"value": work.text[: work.said]}}
        else:
            report = {"events": [{"type": "chunk", "content": work.text[start : work.said], "offset": start}]}
        ack = await self.box.progress(work.subtask_id, attempt=work.attempt, **report)
        if "code" not in ack:
            work.known = ack["offset"]
        else:
            self._refused(work, ack)

    async def _end(self, work):
        status = "CANCELLED" if work.stopping else work.ending
        report = {} if status == "CANCELLED" else {"result": {"value": work.text}}
        ack = await self.box.complete(work.subtask_id, status, attempt=work.attempt, **report)
        if "code" not in ack:
            work.over = True
        else:
            self._refused(work, ack)

    def _refused(self, work, ack):
        if ack["code"] in GONE:
            work.over = True
        elif ack["code"] == "OFFSET_MISMATCH":
            work.known = ack["offset"]
            if work.known > work.said:
                work.said = work.known
        elif ack["code"] == "CONFLICT":
            self.registered = False
        elif ack["code"] not in ("OVERLOADED", "SHUTTING_DOWN"):
            self.complaints.append(f"{work} was refused: {ack}")

    async def _beat(self):
        while True:
            await trio.sleep(self.rng.choice([5.0, 20.0, 30.0]))
            if self.registered and self.box.client.connected:
                try:
                    ack = await self.box.heartbeat(*{work.task_id for work in self.active()})
                except ConnectionLost:
                    continue
                if ack.get("code") in ("NOT_FOUND", "CONFLICT"):
                    self.registered = False
