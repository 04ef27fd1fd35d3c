"""A short run of the fuzzer over every parser; and that it would find something."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("WEGENT_FUZZ_SECONDS", "2"))


def run(*arguments: str, code: str | None = None) -> "subprocess.CompletedProcess[str]":
    command = ["-c", code] if code else ["-m", "tests.fuzz.run"]
    return subprocess.run(
        [sys.executable, *command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 60
    )


def test_parsers_raise_only_what_they_declare() -> None:
    done = run("--seconds", str(SECONDS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed ")
    assert done.stdout.endswith("0 findings\n")


PLANTED = """
import sys
from tests.fuzz import run, targets
def crash(data):
    if b"x" in data: raise KeyError(data)
def hang(data):
    while b"x" in data: pass
run.HANG = 0.2
run.TARGETS.clear()
run.TARGETS.update(crash=targets.Target(crash, [b"abcdwyz"]), hang=targets.Target(hang, [b"abx"]))
sys.exit(run.main(sys.argv[1:]))
"""


def test_planted_crash_and_hang_are_found_and_cut_down() -> None:
    done = run("--seconds", "20", "--seed", "7", code=PLANTED)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crash: b'x'\n" in done.stdout
    assert "--replay crash 78" in done.stdout
    assert "KeyError" in done.stdout
    assert "hang: b'abx'\n" in done.stdout
    assert "2 findings" in done.stdout


def test_finding_can_be_replayed() -> None:
    assert run("--replay", "crash", "78", code=PLANTED).returncode == 1
    assert run("--replay", "crash", "-", code=PLANTED).returncode == 0
