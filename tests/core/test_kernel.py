"""The plugin graph, and the order in which a deployment lives and dies."""

import logging
from pathlib import Path

import pytest
import trio

from wegent.core.errors import ConfigError, NotFound
from wegent.core.kernel import Kernel, KernelConfig, Worker, check_graph
from wegent.core.ports.plugin import Plugin, Provision
from wegent.core.sessions import Sessions


class A:
    """A port."""


class B:
    """Another one."""


class Many:
    """One that several may bring."""

    many = True


def plugin(name, *, requires=(), wants=(), provides=(), on_failure="stop", life=None, log=None, drain=None):
    """A plugin that says what happens to it."""
    said = [] if log is None else log

    async def run(self, config, deps, *, task_status):
        said.append(f"{name} starts")
        try:
            if life is not None:
                await life(task_status)
            else:
                task_status.started([Provision(port, name) for port in provides])
                await trio.sleep_forever()
        finally:
            said.append(f"{name} ends")

    async def drained(self, deadline):
        said.append(f"{name} drains")
        if drain is not None:
            await drain(deadline)

    members = {
        "name": name,
        "requires": tuple(requires),
        "wants": tuple(wants),
        "provides": tuple(provides),
        "on_failure": on_failure,
        "run": run,
        "drain": drained,
    }
    return type(name, (Plugin,), members)()


def kernel(*plugins, **config):
    return Kernel([(each, None) for each in plugins], KernelConfig(**config), worker=Worker("w", Path()))


def test_plugins_start_after_what_they_require():
    order = check_graph([plugin("c", requires=[B]), plugin("b", requires=[A], provides=[B]), plugin("a", provides=[A])])
    assert [each.name for each in order] == ["a", "b", "c"]
    order = check_graph([plugin("last", wants=[Many]), plugin("x", provides=[Many]), plugin("y", provides=[Many])])
    assert order[-1].name == "last"
    check_graph([plugin("alone", requires=[Sessions], wants=[A])])


@pytest.mark.parametrize(
    ("plugins", "sentence"),
    [
        ([plugin("c", requires=[B])], "plugin c requires B, which no listed plugin provides"),
        ([plugin("a", provides=[A]), plugin("b", provides=[A])], "A is provided by a and b"),
        ([plugin("a"), plugin("a")], "listed twice"),
        ([plugin("a", provides=[Sessions])], "Sessions is provided by the kernel and a"),
        ([plugin("a", requires=[B], provides=[A]), plugin("b", requires=[A], provides=[B])], "in a circle: "),
        ([plugin("a", provides=[A], on_failure="restart")], "cannot be restarted alone"),
    ],
)
def test_a_wrong_graph_is_named(plugins, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_graph(plugins)


async def serve(made, during=None):
    """Serve until `during` has been called, then stop."""
    async with trio.open_nursery() as nursery:
        deps = await nursery.start(made.serve)
        if during is not None:
            await during(deps)
        made.stop()


async def test_plugins_start_in_order_drain_and_stop_in_reverse(autojump_clock):
    log = []
    made = kernel(plugin("b", requires=[A], log=log), plugin("a", provides=[A], log=log))

    async def during(deps):
        assert deps.one(A) == "a"
        assert deps.maybe(B) is None
        log.append("serving")

    await serve(made, during)
    assert log == ["a starts", "b starts", "serving", "b drains", "a drains", "b ends", "a ends"]
    assert made.health.draining
    assert made.sessions.draining
    assert made.stopped.is_set()


async def test_cancelling_the_kernel_stops_it_in_the_same_order(autojump_clock):
    log = []
    made = kernel(plugin("b", requires=[A], log=log), plugin("a", provides=[A], log=log))
    async with trio.open_nursery() as nursery:
        await nursery.start(made.serve)
        nursery.cancel_scope.cancel()
    assert log[2:] == ["b drains", "a drains", "b ends", "a ends"]


async def test_what_several_bring_has_names(autojump_clock):
    async def during(deps):
        assert dict(deps.all(Many)) == {"x": "x", "y": "y"}

    await serve(kernel(plugin("x", provides=[Many]), plugin("y", provides=[Many])), during)


async def test_a_plugin_that_fails_stops_the_others_in_order(autojump_clock):
    log = []

    async def fail(task_status):
        task_status.started([])
        await trio.sleep(5)
        raise ValueError("broken")

    failing = plugin("f", requires=[A], life=fail, log=log)
    made = kernel(plugin("b", requires=[A], provides=[B], log=log), failing, plugin("a", provides=[A], log=log))
    with pytest.raises(ExceptionGroup) as caught:
        await made.serve()
    assert caught.group_contains(ValueError, match="broken")
    assert log.index("f ends") < log.index("b ends") < log.index("a ends")


async def test_a_plugin_that_fails_while_it_stops_is_not_passed_over(autojump_clock):
    async def fail(task_status):
        task_status.started([])
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("broken at the end")

    made = kernel(plugin("f", life=fail))
    with pytest.raises(ExceptionGroup) as caught:
        await serve(made)
    assert caught.group_contains(ValueError, match="at the end")


async def test_a_plugin_that_fails_to_start_ends_those_before_it(autojump_clock):
    log = []

    async def fail(task_status):
        raise ConfigError("no such file")

    made = kernel(plugin("b", requires=[A], life=fail, log=log), plugin("a", provides=[A], log=log))
    with pytest.raises(ExceptionGroup) as caught:
        await made.serve()
    assert caught.group_contains(ConfigError)
    assert log[-1] == "a ends"


async def test_a_plugin_that_may_be_restarted_is(autojump_clock, caplog):
    starts = []

    async def sometimes(task_status):
        starts.append(trio.current_time())
        if len(starts) in (1, 3):
            raise ValueError("not now")
        task_status.started([])
        await trio.sleep(10)
        if len(starts) == 2:
            raise ValueError("broken")
        await trio.sleep_forever()

    async def during(deps):
        await trio.sleep(100)

    with caplog.at_level(logging.CRITICAL):
        await serve(kernel(plugin("r", life=sometimes, on_failure="restart")), during)
    assert len(starts) == 4


@pytest.mark.parametrize("told", [False, True])
async def test_a_refusal_is_logged_where_nobody_else_tells_it(told, caplog):
    async def refused(task_status):
        task_status.started([])
        await trio.lowlevel.checkpoint()
        raise NotFound("no such thing")

    kernel = Kernel([(plugin("a", life=refused), None)], worker=Worker("w", Path()), refusals_are_told=told)
    with pytest.raises(ExceptionGroup):
        await kernel.serve()
    assert [record.levelname for record in caplog.records if "everything stops" in record.message] == (
        [] if told else ["ERROR"]
    )


async def test_one_that_does_not_drain_or_stop_in_time_does_not_hold_the_rest(autojump_clock, caplog):
    log = []

    async def stubborn(task_status):
        task_status.started([])
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async def never(deadline):
        await trio.sleep_forever()

    made = kernel(
        plugin("s", requires=[A], life=stubborn, drain=never, log=log),
        plugin("a", provides=[A], log=log),
        drain_timeout=3,
        stop_timeout=2,
    )
    ended = []

    async def during(deps):
        ended.append(trio.current_time())

    with caplog.at_level(logging.CRITICAL):
        await serve(made, during)
    assert log.index("a ends") < log.index("s ends")
    assert "a drains" in log


async def test_a_drain_that_fails_does_not_keep_others_from_draining(autojump_clock, caplog):
    log = []

    async def broken(deadline):
        raise ValueError("cannot drain")

    made = kernel(plugin("b", requires=[A], drain=broken, log=log), plugin("a", provides=[A], log=log))
    with caplog.at_level(logging.CRITICAL):
        await serve(made)
    assert log[-3:] == ["a drains", "b ends", "a ends"]


async def test_a_kernel_told_to_stop_while_starting_stops(autojump_clock):
    log = []

    async def slow(task_status):
        await trio.sleep(1_000)
        task_status.started([])

    made = kernel(plugin("b", requires=[A], life=slow, log=log), plugin("a", provides=[A], log=log))
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.serve)
            await trio.sleep(1)
            made.stop()
    assert log[-1] == "a ends"
