"""Where a run goes, and who is told that it can't."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from wegent.core.config import build
from wegent.core.errors import ConfigError
from wegent.server.owners import device_target
from wegent.server.plugin import ChatConfig
from wegent.server.records import Token
from wegent.server.specs import job_of
from wegent.server.targets import CommandPolicy, Targets
from wegent.server.teams import CHAT_SHELL
from wegent.testing.harness import Application, serving
from wegent.testing.scripted import ScriptedExecutor, say
from wegent.transports.plugin import is_exposed

HOUR = timedelta(hours=1)


class Elsewhere(Application):
    """Nothing runs: rows stay where they were put."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ScriptedExecutor(default=[say("x")]))
        self.targets = Targets(self.clock, [CHAT_SHELL, "local", "process"], **options)
        self.sending._targets = self.targets
        self.queue.paused = True

    async def team(self, **shell: Any) -> int:
        """A public team in that shell."""

        def work(unit: Any) -> int:
            for kind, spec in (
                ("Shell", shell),
                ("Bot", {"ghostRef": {"name": "assistant"}, "shellRef": {"name": "s"}}),
                ("Team", {"members": [{"botRef": {"name": "s"}}], "public": True}),
            ):
                made = unit.put_kind(kind, "default", "s", user_id=None, body={"metadata": {}, "spec": spec})
            return made.id

        return await self.store.write(work)

    async def send(self, name: str = "alice", team_id: int | None = None, **more: Any) -> Any:
        """What comes back: the target of the answer's row, or the error's code; and the error's sentence."""
        client = await self.client(name)
        before = self.peek(lambda unit: unit.depths())
        ack = await client.emit("chat:send", {"team_id": team_id or self.team_id, "message": "x", **more})
        client.disconnect()
        if "code" in ack:
            assert self.peek(lambda unit: unit.depths()) == before
            return ack["code"], ack["error"]
        return self.row(ack["assistant_subtask_id"]).target, ack["task_id"]

    async def device(self, name: str = "alice", **changes: Any) -> None:
        """That user's device `box`, connected."""
        given = {"status": "online", "connection": "sid", **changes}
        await self.store.write(lambda unit: unit.put_device(self.users[name], "box", **given))


@pytest.mark.parametrize(
    ("shell", "target"),
    [
        ({"shellType": "Chat", "executor": "process"}, CHAT_SHELL),
        ({"shellType": "Agent", "executor": "process"}, "process"),
        ({"shellType": "Agent"}, "local"),
    ],
)
async def test_the_shell_says_where_else_the_default_executor(autojump_clock, shell, target):
    async with serving(Elsewhere()) as app:
        assert (await app.send(team_id=await app.team(**shell)))[0] == target


async def test_a_device_is_asked_for_by_the_message_else_by_its_task(autojump_clock):
    async with serving(Elsewhere()) as app:
        await app.device()
        target = device_target(app.users["alice"], "box")
        found, task_id = await app.send(device_id="box")
        assert found == target
        assert app.task(task_id).device_id == "box"
        assert (await app.send(task_id=task_id, if_running="queue"))[0] == target


async def test_a_device_of_somebody_else_is_not_found(autojump_clock):
    async with serving(Elsewhere()) as app:
        await app.device("bob")
        assert (await app.send(device_id="box"))[0] == "NOT_FOUND"


async def test_a_device_that_is_gone_for_longer_than_its_window_is_offline(autojump_clock):
    async with serving(Elsewhere()) as app:
        await app.device(connection=None, status="offline", offline_since=app.clock.now() - timedelta(seconds=59))
        target, task_id = await app.send(device_id="box")
        assert target == device_target(app.users["alice"], "box")
        await app.device(connection=None, status="offline", offline_since=app.clock.now() - timedelta(seconds=61))
        assert (await app.send(task_id=task_id, if_running="queue"))[0] == "DEVICE_OFFLINE"
        assert len(app.rows(task_id)) == 2
        await app.device(connection=None, status="offline")
        assert (await app.send(device_id="box", task_id=task_id, if_running="queue"))[0] == "DEVICE_OFFLINE"
        await app.device(status="offline")
        assert (await app.send(device_id="box", task_id=task_id, if_running="queue"))[0] == "DEVICE_OFFLINE"
        await app.device(status="busy")
        assert (await app.send(device_id="box", task_id=task_id, if_running="queue"))[0] == target


async def test_an_executor_that_nothing_provides_is_a_conflict_that_says_what_there_is(autojump_clock):
    async with serving(Elsewhere()) as app:
        team = await app.team(shellType="Agent", executor="docker")
        code, sentence = await app.send(team_id=team)
        assert (code, sentence) == (
            "CONFLICT",
            "nothing here provides the executor 'docker'; there are: chat_shell, local, process",
        )
        now = app.clock.now()
        for jti, scope, claims, expires, revoked in (
            ("a", "user", {"targets": ["docker"]}, None, None),
            ("b", "executor", {"targets": ["docker"]}, now, None),
            ("c", "executor", {"targets": ["docker"]}, None, now),
            ("d", "executor", {"targets": "docker"}, None, None),
            ("e", "executor", {"targets": ["gpu", 7]}, now + HOUR, None),
        ):
            token = Token(jti, app.users["bob"], scope, "", claims, now, expires, revoked)
            await app.store.write(lambda unit, token=token: unit.add_token(token))
        assert "there are: chat_shell, gpu, local, process" in (await app.send(team_id=team))[1]
        token = Token("f", app.users["bob"], "executor", "", {"targets": ["docker"]}, now, now + HOUR, None)
        await app.store.write(lambda unit: unit.add_token(token))
        assert (await app.send(team_id=team))[0] == "docker"


@pytest.mark.parametrize(
    ("policy", "exposed", "user", "admin"),
    [
        ("auto", False, "process", "process"),
        ("auto", True, "ACCESS_DENIED", "process"),
        ("admin", False, "ACCESS_DENIED", "process"),
        ("everybody", True, "process", "process"),
        ("nobody", False, "ACCESS_DENIED", "ACCESS_DENIED"),
    ],
)
async def test_who_may_run_commands_is_a_setting(autojump_clock, policy, exposed, user, admin):
    command = CommandPolicy(policy).in_force(exposed=exposed)
    async with serving(Elsewhere(command=command)) as app:
        await app.store.write(lambda unit: unit.update_user(app.users["bob"], role="admin"))
        team = await app.team(shellType="Command", executor="process")
        assert (await app.send("bob", team_id=team))[0] == admin
        code, sentence = await app.send("alice", team_id=team)
        assert code == user
        if user == "ACCESS_DENIED":
            assert "chat.command" in sentence


@pytest.mark.parametrize("policy", list(CommandPolicy))
def test_each_policy_can_be_configured(policy):
    assert build(ChatConfig, {"command": policy.value}, "chat").command == policy


def test_another_policy_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="takes one of 'auto', 'admin', 'everybody', 'nobody'"):
        build(ChatConfig, {"command": "some"}, "chat")


@pytest.mark.parametrize(
    ("bind", "exposed"),
    [
        ("127.0.0.1:8000", False),
        ("127.9.9.9:1", False),
        ("[::1]:8000", False),
        ("localhost:8000", False),
        ("0.0.0.0:8000", True),
        ("[::]:8000", True),
        (":8000", True),
        ("example.org:80", True),
    ],
)
def test_what_listens_beyond_this_machine_is_exposed(bind, exposed):
    assert is_exposed(bind) is exposed


async def test_commands_elsewhere_and_other_shells_are_for_everybody(autojump_clock):
    async with serving(Elsewhere(command=CommandPolicy.NOBODY)) as app:
        app.sending._targets = Targets(app.clock, ["local", "docker"], command=CommandPolicy.NOBODY)
        assert (await app.send(team_id=await app.team(shellType="Command", executor="docker")))[0] == "docker"
        assert (await app.send(team_id=await app.team(shellType="Agent", executor="local")))[0] == "local"


async def test_who_runs_a_row_is_told_what_its_shell_wants_to_run_in():
    async with serving(Elsewhere()) as app:
        app.sending._targets = Targets(app.clock, ["docker"])
        shell = {"shellType": "Command", "executor": "docker", "image": "tools:1", "resources": {"memory": 1_000}}
        _, task_id = await app.send(team_id=await app.team(**shell))
        rows = app.peek(lambda unit: unit.subtasks(task_id))
        bot = app.peek(lambda unit: job_of(unit, unit.task(task_id), rows[-1])).bot
    assert (bot.image, bot.resources) == ("tools:1", {"memory": 1_000})
