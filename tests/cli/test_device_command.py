"""`wegent device` before it is connected, and what it shows."""

from __future__ import annotations

import io

import pytest
import trio
from rich.console import Console

from tests.client.test_host import Scripted, job
from wegent.cli.device import kept_id
from wegent.cli.device_view import DeviceView
from wegent.cli.main import main
from wegent.client.running import LocalRun, Reply
from wegent.codec import convert
from wegent.core.clock import SystemClock
from wegent.core.errors import RunFailed
from wegent.protocol.jobs import Job

DEVICE_TOKEN = "a.eyJzY29wZSI6ImRldmljZSIsImRldmljZV9pZCI6ImRlc2sifQ.c"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--token", DEVICE_TOKEN, "--server", "ftp://x"], "'ftp://x' is no address of a server"),
        (["--token", DEVICE_TOKEN, "--executor", "podman"], "there are: local, process"),
        (["--token", DEVICE_TOKEN, "--slots", "0"], "slots is a number from 1 to"),
        (["--token", DEVICE_TOKEN, "--id", "x" * 101], "id has 1 to 100 printable characters"),
        (["--token", DEVICE_TOKEN, "--set", "device.slot=1"], "did you mean 'slots'?"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(options, words, tmp_path, monkeypatch, capfd):
    for name in ("WEGENT_SERVER", "WEGENT_DEVICE_TOKEN", "WEGENT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("wegent.cli.working.configure", lambda *_: None)  # pytest's own handlers stay
    assert main(["device", *options, "--data", str(tmp_path)]) == 2
    assert words in capfd.readouterr().err


def test_a_data_folder_has_one_id_for_ever(tmp_path):
    first = kept_id(tmp_path / "one")
    assert kept_id(tmp_path / "one") == first
    assert kept_id(tmp_path / "two") != first
    assert 1 <= len(first) <= 100


async def lives(view):
    """Two runs, one of which fails, and a connection that is lost for a while."""

    async def good(sink):
        await sink.text("hello")
        await sink.progress(50)
        await trio.sleep(0.4)

    async def bad(sink):
        raise RunFailed("no disk\x1b[2J", type="internal")

    async def send(run, report):
        await trio.lowlevel.checkpoint()
        return Reply(report.ends["content"])

    view.connected()
    for script in (good, bad):
        run = LocalRun(convert(job(title="a \x1b[31m title"), Job), Scripted(script), SystemClock(), where="here")
        view.began(run)
        await run.live(send, every=5)
        view.ended(run)
    view.trouble("the network is down")
    view.trouble("it still is")
    view.connected()


async def shown(view):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(view.run)
        await lives(view)
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()


async def test_lines_tell_what_happened_without_control_characters(capsys):
    await shown(DeviceView("http://server", "Desk", "desk"))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    lines = said.splitlines()
    assert lines[0] == "Connected to http://server as Desk (desk)"
    assert [line[0] for line in lines] == ["C", "▶", "✔", "▶", "✘", "!", "C"]
    assert "COMPLETED, 5 characters in" in lines[2]
    assert "FAILED" in lines[4]
    assert "no disk" in lines[4]


async def test_a_terminal_shows_the_runs_of_the_moment():
    screen = io.StringIO()
    await shown(DeviceView("http://server", "Desk", "desk", Console(file=screen, force_terminal=True, width=100)))
    said = screen.getvalue()
    assert "5 characters · 50 %" in said
    assert "COMPLETED, 5 characters" in said
