"""`wegent apply` on a data folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import trio

from wegent.cli.main import main
from wegent.core.clock import SystemClock
from wegent.storage.opening import open_store

EXAMPLE = str(Path(__file__).parents[2] / "examples/command-team.yaml")
GHOST = "kind: Ghost\nmetadata: {name: g}\nspec: {systemPrompt: Hi.}\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    assert main(["user", "add", "ada", "--password-stdin", "--data", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path


def owners(data: Path, kind: str, name: str) -> list[int | None]:
    async def read() -> list[Any]:
        async with open_store(f"sqlite:///{data / 'wegent.db'}", clock=SystemClock()) as store:
            return await store.read(lambda unit: unit.kinds(kind))

    return [row.user_id for row in trio.run(read) if row.name == name]


def test_a_file_is_applied_for_a_user_and_for_everybody(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for whose, owner in ((["--user", "ada"], [1]), (["--public"], [1, None])):
        assert main(["apply", "-f", EXAMPLE, "--data", str(data), *whose]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "Team default/shell created"
        assert owners(data, "Team", "shell") == owner
        assert main(["apply", "-f", EXAMPLE, "--data", str(data), *whose]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "Team default/shell unchanged"


def test_the_standard_input_is_a_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GHOST.encode())))
    assert main(["apply", "-f", "-", "--data", str(data), "--user", "ada"]) == 0
    assert owners(data, "Ghost", "g") == [1]


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (GHOST, [], "either --user, whose the kinds become, or --public"),
        (GHOST, ["--user", "ada", "--public"], "either --user"),
        (GHOST, ["--user", "bo"], "there is no user 'bo'"),
        (GHOST * 2, ["--public"], "document 1, line 4: expected each key once, got 'kind' again"),
        (f"{GHOST}---\n{GHOST}", ["--public"], "document 2 (Ghost default/g): `metadata.name`: document 1 has"),
        ("kind: Bot\nmetadata: {name: b}\nspec: {}", ["--public"], "document 1: `spec.ghostRef`: expected a value"),
        ("", ["--public"], "expected at least one document"),
        ("\xff", ["--public"], "expected YAML in UTF-8"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_changed(
    data: Path, capsys: pytest.CaptureFixture[str], text: str, options: list[str], told: str
) -> None:
    file = data / "kinds.yaml"
    file.write_bytes(text.encode("latin-1"))
    assert main(["apply", "-f", str(file), "--data", str(data), *options]) != 0
    told_of = capsys.readouterr()
    assert told in told_of.err
    assert told_of.out == ""
    assert owners(data, "Ghost", "g") == []


def test_the_document_is_counted_within_its_file(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = data / "bad.yaml"
    bad.write_text(GHOST.replace("systemPrompt", "systemPromt"))
    assert main(["apply", "-f", EXAMPLE, "-f", str(bad), "--data", str(data), "--public"]) == 2
    assert f"wegent: {bad}: document 1: `spec`: there is no field 'systemPromt'" in capsys.readouterr().err
    assert owners(data, "Team", "shell") == []


def test_a_file_that_is_not_there_is_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", "-f", str(data / "none.yaml"), "--data", str(data), "--public"]) == 2
    assert "none.yaml can't be read: No such file" in capsys.readouterr().err
