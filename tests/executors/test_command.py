"""The agent `Command`, in the server's process and in one of its own."""

from __future__ import annotations

import pytest
import trio

from tests.executors.processes import none_left
from wegent.core.errors import RunFailed
from wegent.executors.local import LocalExecutor
from wegent.executors.process import ProcessExecutor
from wegent.executors.workspace import Workspaces
from wegent.runner import command
from wegent.testing.executor_contract import contract_job
from wegent.testing.sinks import MemorySink


@pytest.fixture(params=[LocalExecutor, ProcessExecutor])
def executor(request, tmp_path):
    return request.param(Workspaces(tmp_path))


async def output(executor, text):
    sink = MemorySink()
    await executor.run(contract_job(text, "Command"), sink)
    return sink.content


async def failure(executor, text):
    sink = MemorySink()
    with pytest.raises(RunFailed) as caught:
        await executor.run(contract_job(text, "Command"), sink)
    return caught.value.type, caught.value.sentence, sink.content


async def test_what_a_command_prints_is_the_answer(executor):
    assert await output(executor, "echo one; echo two >&2; echo three") == "one\ntwo\nthree\n"


async def test_output_comes_as_it_is_printed(executor):
    sink = MemorySink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, contract_job("echo early; sleep 1000", "Command"), sink)
        await sink.wait_for("early")
        nursery.cancel_scope.cancel()


async def test_terminal_sequences_are_kept_out_and_bad_bytes_replaced(executor):
    assert await output(executor, r"printf '\033[31mr\033[0m\377\342\202ed'") == "r\ufffd\ufffded"


async def test_a_code_point_is_never_split(executor):
    assert await output(executor, r"printf '\360\237'; sleep 0.2; printf '\221\213'") == "👋"


async def test_a_command_works_in_its_tasks_folder_with_an_empty_input(executor, tmp_path):
    sink = MemorySink()
    job = contract_job("pwd; cat; echo x > file; ls", "Command")
    await executor.run(job, sink)
    assert sink.content == f"{tmp_path / str(job.task_id)}\nfile\n"


async def test_an_exit_code_other_than_0_is_an_error_that_names_it(executor):
    kind, sentence, content = await failure(executor, "echo so far; exit 3")
    assert (kind, content) == ("runner_exit", "so far\n")
    assert "3" in sentence
    kind, sentence, _ = await failure(executor, "no-such-command-at-all 2>&1")
    assert "127" in sentence


async def test_a_command_that_dies_by_a_signal_says_which(executor):
    kind, sentence, _ = await failure(executor, "kill -SEGV $$")
    assert (kind, "SIGSEGV" in sentence) == ("killed", True)


async def test_megabytes_arrive_whole(executor):
    assert await output(executor, "yes é | head -c 3000000") == "é\n" * 1_000_000


async def test_what_a_command_leaves_running_is_not_waited_for_and_ended(executor, monkeypatch):
    monkeypatch.setattr(command, "LAST_WORDS_S", 0.1)
    job, sink = contract_job("sleep 998 & echo done; (sleep 0.05; echo late) &", "Command"), MemorySink()
    with trio.fail_after(3):
        await executor.run(job, sink)
    assert sink.content == "done\nlate\n"


@pytest.mark.parametrize(("trap", "seconds"), [("", 1), ("trap '' TERM; ", command.GRACE_S + 1)])
async def test_a_cancelled_command_ends_with_all_its_processes(executor, trap, seconds):
    job, sink = contract_job(f"{trap}sleep 997 & sleep 996 & echo up; wait", "Command"), MemorySink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, job, sink)
        await sink.wait_for("up")
        cancelled = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - cancelled < seconds
    await none_left(job.task_id, 1)  # killed they are; without a keeper nobody waits until they are gone


async def test_a_command_sees_nothing_of_the_servers_secrets(executor, monkeypatch):
    monkeypatch.setenv("OPENAI_KEY", "secret")
    assert await output(executor, "echo $OPENAI_KEY; echo $HOME | head -c1") == "\n/"


async def test_a_slow_sink_loses_nothing_of_a_command_that_has_ended(executor, monkeypatch):
    monkeypatch.setattr(command, "LAST_WORDS_S", 0.1)
    sink = MemorySink()
    sink.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, contract_job("yes | head -c 160000", "Command"), sink)
        await trio.sleep(0.8)
        sink.release()
    assert sink.content == "y\n" * 80_000
