"""A plugin for a test server: a public team `remote`, whose runs go to the executor `gpu`, which the server has not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import trio

from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.server.ports.store import Store, Unit

SETTINGS = ('plugins.add=["tests.e2e.remote_team:RemoteTeamPlugin"]',)
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Ghost", {"systemPrompt": ""}),
    ("Shell", {"shellType": "Recorder", "executor": "gpu"}),
    ("Bot", {"ghostRef": {"name": "remote"}, "shellRef": {"name": "remote"}}),
    ("Team", {"members": [{"botRef": {"name": "remote"}}], "public": True}),
)


class RemoteTeamPlugin(Plugin):
    """Brings it."""

    name = "remote-team"
    requires: ClassVar[tuple[type[Any], ...]] = (Store,)

    async def run(self, config: Any, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        del config
        await deps.one(Store).write(_make)
        task_status.started([])


def _make(unit: Unit) -> None:
    for kind, spec in KINDS:
        body = {"metadata": {"name": "remote", "namespace": "default"}, "spec": spec}
        unit.put_kind(kind, "default", "remote", user_id=None, body=body)
