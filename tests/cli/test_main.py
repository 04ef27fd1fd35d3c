"""The command itself: finding subcommands, and telling failures."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any

import pytest

from wegent.cli import commands
from wegent.cli.errors import report
from wegent.cli.main import main
from wegent.core.errors import ConfigError, NotFound


class Hello:
    """A command that a package adds; it fails as it is told."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def add_parser(self, subparsers: Any) -> None:
        subparsers.add_parser("hello", help="say hello").add_argument("--name", default="you")

    def run(self, args: argparse.Namespace) -> int:
        if self.error is not None:
            raise self.error
        print(f"hello {args.name}")
        return 5


TALKER = """
import sys
from wegent.cli import main
from wegent.cli.commands import Command

class Talk:
    def add_parser(self, subparsers): subparsers.add_parser("talk")
    def run(self, args): print("x" * 100); return 0

main.discover = lambda: {"talk": Command("talk", "test", Talk)}
sys.exit(main.main(["talk"]))
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes an object the command `hello` of an installed package."""

    def install(loaded: object = None, *, error: Exception | None = None, name: str = "hello") -> None:
        def load() -> object:
            if error is not None:
                raise error
            return loaded

        point = SimpleNamespace(name=name, value="pkg.hello", dist=SimpleNamespace(name="pkg"), load=load)
        monkeypatch.setattr(commands, "entry_points", lambda *, group: [point] if group == "wegent.commands" else [])

    return install


def test_an_installed_package_adds_a_command(installed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    installed(Hello())
    assert main(["hello", "--name", "ada"]) == 5
    assert capsys.readouterr().out == "hello ada\n"


def test_a_command_of_a_package_replaces_no_built_in_one(installed: Any) -> None:
    installed(Hello(), name="user")
    assert commands.discover()["user"].source == "wegent"


@pytest.mark.parametrize(
    ("loaded", "error"), [(None, ImportError("no module named 100% gone")), (None, TypeError()), (object(), None)]
)
def test_a_broken_command_says_so_and_breaks_no_other(
    installed: Any, capsys: pytest.CaptureFixture[str], loaded: object, error: Exception | None
) -> None:
    installed(loaded, error=error)
    assert main(["hello"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("wegent: the command 'hello' of pkg ")
    assert told.count("\n") == 1
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert "(broken)" in told
    assert "token" in told


def test_no_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["chatt"])
    assert end.value.code == 2
    assert "chatt" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("wegent ")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (NotFound("no such\nthing"), 1, "wegent: no such thing\n"),
        (ConfigError("bad"), 2, "wegent: bad\n"),
        (BaseExceptionGroup("g", [NotFound("a"), ExceptionGroup("h", [NotFound("a")])]), 1, "wegent: a\n"),
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("g", [KeyboardInterrupt(), NotFound("a")]), 130, ""),
    ],
)
def test_a_failure_ends_as_one_clean_line(
    installed: Any, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    installed(Hello(error))
    assert main(["hello"]) == code
    assert capsys.readouterr().err == told


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        report(ZeroDivisionError())


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-c", TALKER], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (1, b"")


def test_a_real_entry_point_is_loaded() -> None:
    point = EntryPoint("user2", "wegent.cli.user", "wegent.commands")
    assert commands.Command("user2", "pkg", point.load).load() is not None
