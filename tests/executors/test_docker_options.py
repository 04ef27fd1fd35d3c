"""What a bot runs in, by the settings of `docker` and by what its Shell asks for."""

from __future__ import annotations

import pytest

from wegent.core.errors import RunFailed
from wegent.executors.docker.options import DockerOptions
from wegent.protocol.jobs import JobBot

OPTIONS = DockerOptions(
    images={"Own": "me/own", "Count": "me/count"}, commands={"Count": ("count", "up")}, shell_images=("me/*",)
)


def plan(shell_type, **bot):
    return OPTIONS.plan(JobBot(name="b", shell_type=shell_type, **bot))


@pytest.mark.parametrize(
    ("bot", "image", "program"),
    [
        ({"shell_type": "Command"}, "wegent-runner", "python3"),
        ({"shell_type": "Command", "image": "me/tools"}, "me/tools", "python3"),
        ({"shell_type": "Count"}, "me/count", "count"),
        ({"shell_type": "Own"}, "me/own", None),
        ({"shell_type": "New", "image": "me/new"}, "me/new", None),
    ],
)
def test_image_and_program_follow_from_shell_type_and_shell(bot, image, program):
    found = plan(**bot)
    assert (found.image, found.program[0] if found.program else None) == (image, program)


@pytest.mark.parametrize(
    ("bot", "says"),
    [
        ({"shell_type": "New"}, "only for: Command, Count, Own"),
        ({"shell_type": "Own", "image": "other/me/x"}, "may name here (`docker.shell_images`): me/*"),
        ({"shell_type": "Own", "resources": {"memory": "1g"}}, "as numbers"),
        ({"shell_type": "Own", "resources": {"memory": True}}, "as numbers"),
        ({"shell_type": "Own", "resources": {"gpus": 1}}, "`memory` in bytes, `cpus` and `pids`"),
        ({"shell_type": "Own", "resources": {"memory": 1}}, "memory is at least"),
    ],
)
def test_what_a_shell_may_not_have_is_refused_with_what_it_may(bot, says):
    with pytest.raises(RunFailed) as caught:
        plan(**bot)
    assert says in caught.value.sentence


def test_resources_are_never_more_than_the_limits():
    limits = plan("Own", resources={"memory": 2**40, "cpus": 0.5, "pids": 10.0}).limits
    assert (limits.memory, limits.cpus, limits.pids) == (OPTIONS.limits.memory, 0.5, 10)
