"""What one worker asks of all others, for nobody knows at which of them a run, a connection or a question is.

Each of these stands in the store before it is told, but for what a viewer answers to a question and the end of a
device's session, which may be lost; answers that hosts and devices wait for are told again by the worker that asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import asdict

from wegent.codec import convert
from wegent.core.model import Principal, StreamId
from wegent.core.relay import Relay
from wegent.core.remote_run import Answer
from wegent.core.remote_skills import RemoteSkills
from wegent.core.sessions import Sessions
from wegent.protocol.shape import to_wire
from wegent.protocol.skills import SkillResponse
from wegent.server.access import may_see
from wegent.server.ports.store import Store, Unit
from wegent.server.telling import CHAT

if TYPE_CHECKING:
    from wegent.server.devices import Devices
    from wegent.server.evicting import Evictions
    from wegent.server.queueing import Queue
    from wegent.server.skills import Skills

STOP, EVICT, ANSWER = "stop", "evict", "answer"
ANSWERED, ANSWERS = "answered", "answers"
RELEASED, DEVICE, CLOSE = "released", "device", "close-session"
TASK = "task:"


class Elsewhere:
    """Tells all other workers, and does what they tell."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def stop(self, subtask_id: int, attempt: int) -> None:
        """A run is to end. Who misses this finds it at the next beat."""
        self._relay.tell_all(STOP, [subtask_id, attempt])

    def evict(self, task_id: int, user_id: int) -> None:
        """A user has lost their place in a task."""
        self._relay.tell_all(EVICT, [task_id, user_id])

    def answer(self, response: SkillResponse) -> None:
        """A question was answered by somebody who may."""
        self._relay.tell_all(ANSWER, to_wire(response))

    def released(self, subtask_id: int, target: str) -> None:
        """A row waits for a target of which nobody takes rows here. Who misses this finds it when looking."""
        self._relay.tell_all(RELEASED, [subtask_id, target])

    def device(self, user_id: int, device_id: str) -> None:
        """A device has registered here, whichever worker it was connected to before."""
        self._relay.tell_all(DEVICE, [user_id, device_id])

    def close_session(self, user_id: int, device_id: str, task_id: int, rows: Sequence[int]) -> None:
        """A device that is connected to another worker is to close a task's session, once these rows have ended."""
        self._relay.tell_all(CLOSE, [user_id, device_id, task_id, list(rows)])

    def serve_devices(self, queue: Queue, devices: Devices) -> None:
        """The same for what waits for devices and hosts, and for devices that are connected."""
        queue.tell = self.released
        self._relay.on(RELEASED, lambda data: queue.release_here(int(data[0]), str(data[1])))
        self._relay.on(DEVICE, lambda data: devices.look(int(data[0]), str(data[1])))
        self._relay.on(CLOSE, lambda data: devices.close_session(int(data[0]), str(data[1]), int(data[2]), data[3]))
        self._relay.on_missed(devices.look_at_all)

    def serve_skills(self, skills: RemoteSkills) -> None:
        """The same for answers that runs on hosts and devices wait for; the worker that asked has them still."""
        skills.tell = lambda stream, answer: self._relay.tell_all(ANSWERED, [*stream, asdict(answer)])
        skills.want = lambda stream: self._relay.tell_all(ANSWERS, [*stream])
        self._relay.on(ANSWERED, lambda data: skills.take(StreamId(*data[:-1]), Answer(**data[-1])))
        self._relay.on(ANSWERS, lambda data: skills.tell_again(StreamId(*data)))
        self._relay.on_missed(skills.missed)

    def serve(
        self,
        *,
        stop: Callable[[int, int], object],
        evictions: Evictions,
        skills: Skills,
        store: Store,
        sessions: Sessions,
    ) -> None:
        """Do from now on what others tell."""
        self._relay.on(STOP, lambda data: stop(*_two(data)))
        self._relay.on(EVICT, lambda data: evictions.evict_here(*_two(data)))
        self._relay.on(ANSWER, lambda data: skills.take(convert(data, SkillResponse)))

        async def look() -> None:
            """Put out whoever has no place any more where evictions may have been missed."""
            here = _viewers(sessions)
            gone = await store.read(lambda unit: [each for each in here if not _may_view(unit, *each)])
            for task_id, principal in gone:
                evictions.evict_here(task_id, principal.user_id)

        self._relay.on_missed(look)


def _two(data: Any) -> tuple[int, int]:
    first, second = data
    return int(first), int(second)


def _viewers(sessions: Sessions) -> list[tuple[int, Principal]]:
    found: dict[tuple[int, int], Principal] = {}
    for session in sessions.all():
        for room in session.rooms if session.namespace == CHAT else ():
            if room.startswith(TASK):
                found[int(room[len(TASK) :]), session.principal.user_id] = session.principal
    return [(task_id, principal) for (task_id, _), principal in found.items()]


def _may_view(unit: Unit, task_id: int, principal: Principal) -> bool:
    task = unit.task(task_id)
    return task is not None and not task.deleted and may_see(unit, principal, task)
