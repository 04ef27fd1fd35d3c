"""`wegent chat` in a real terminal and in pipes, against a real server."""

from __future__ import annotations

import codecs
import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.e2e.serving import PASSWORD, Server, serving

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[=>])")
PATIENCE = 30.0
PROMPT = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
CHAT = [sys.executable, "-m", "wegent.cli.main", "chat"]


def environment(home: Path, password: str | None = PASSWORD) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WEGENT", "XDG"))}
    made = {**kept, "HOME": str(home), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    return {**made, "WEGENT_PASSWORD": password} if password else made


class Terminal:
    """A pseudo-terminal with a chat in it; what it showed is kept."""

    def __init__(self, *arguments: str, home: Path, password: str | None = PASSWORD) -> None:
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_TERMINAL, *CHAT, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(home, password),
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self._master)

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.shown)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read(self, timeout: float) -> bool:
        """Read what there is; False at the end."""
        ready, _, _ = select.select([self._master], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError as error:
            if error.errno == errno.EIO:
                return False
            raise
        self.shown += self._decoder.decode(data)
        return bool(data)

    def wait_for(self, *sentences: str, after: int = 0) -> None:
        """Until all of these stand in what came after that many characters."""
        deadline = time.monotonic() + PATIENCE
        while not all(sentence in self.text[after:] for sentence in sentences):
            alive = self.read(0.2)
            if time.monotonic() > deadline or not alive:
                raise AssertionError(f"{sentences} did not come:\n{self.text}")

    def ask(self, message: str) -> str:
        """Type a message at the prompt, wait for the next prompt; what was shown between the two."""
        at = len(self.text)
        self.type(f"{message}\n")
        self.wait_for("Ctrl-C to cancel", after=at)
        shown = len(self.text)
        self.wait_for(PROMPT, after=shown)
        return self.text[at:]

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.read(0.2) and time.monotonic() < deadline:
            if self.process.poll() is not None and not self._more():
                break
        return self.process.wait(10)

    def _more(self) -> bool:
        return bool(select.select([self._master], [], [], 0)[0])


def chat(server: Server, home: Path, *arguments: str, stdin: str = "", password: str | None = PASSWORD):
    return subprocess.run(
        [*CHAT, "--server", server.url, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(home, password),
        timeout=60,
    )


@contextmanager
def talking(server: Server, home: Path, *arguments: str) -> Iterator[Terminal]:
    with Terminal("--server", server.url, "--user", "admin", *arguments, home=home) as terminal:
        terminal.wait_for("Ctrl-D leaves", PROMPT)
        yield terminal


def token_file(home: Path) -> Path:
    return home / ".config" / "wegent" / "token.json"


def test_a_message_in_a_script_gives_the_plain_answer(server: Server, tmp_path: Path) -> None:
    done = chat(server, tmp_path, "--user", "admin", "/echo", "Hé 漢字 🙂")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Hé 漢字 🙂" in done.stdout
    assert "\x1b" not in done.stdout
    assert token_file(tmp_path).stat().st_mode & 0o777 == 0o600
    again = chat(server, tmp_path, stdin="/echo from a pipe\n", password=None)
    assert (again.returncode, again.stderr) == (0, "")
    assert "from a pipe" in again.stdout


def test_a_failed_answer_is_an_exit_code_and_a_line(server: Server, tmp_path: Path) -> None:
    done = chat(server, tmp_path, "--user", "admin", "--no-save", "/error")
    assert done.returncode == 1
    assert done.stderr.startswith("wegent: The answer failed")
    assert done.stderr.count("\n") == 1
    assert not token_file(tmp_path).exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--user", "admin", "--password", "wrong", "hi"], 1, "Wrong user name or password"),
        (["--token", "x.y.z", "hi"], 1, "Invalid or expired token"),
        (["--user", "admin", "--team", "Nobody", "hi"], 1, "there is no team 'Nobody'; you may talk to: "),
        (["--user", "admin", "--task", "999999", "hi"], 1, "999999"),
        (["--user", "admin", "--task", "x", "hi"], 2, "'x' is no task"),
        (["--user", "admin"], 2, "there is no message"),
        (["--device", "desk", "--task", "1", "hi"], 2, "leave out --device or --task"),
        (["--server", "http://127.0.0.1:9", "--user", "admin", "hi"], 1, "127.0.0.1:9 can't be reached"),
        (["--server", "nonsense://", "hi"], 2, "is no address of a server"),
        (["hi"], 1, "log in with --user"),
    ],
)
def test_what_goes_wrong_is_told_in_words(
    server: Server, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    done = chat(server, tmp_path, *arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_expired_token_is_replaced_by_logging_in(server: Server, tmp_path: Path) -> None:
    token_file(tmp_path).parent.mkdir(parents=True)
    kept = {"servers": {server.url: {"user": "admin", "token": "old.old.old"}}}
    token_file(tmp_path).write_text(json.dumps(kept))
    done = chat(server, tmp_path, "/echo in again")
    assert done.returncode == 0
    assert "your login has expired" in done.stderr
    assert "in again" in done.stdout


def test_a_terminal_asks_for_name_and_password(server: Server, tmp_path: Path) -> None:
    with Terminal("--server", server.url, home=tmp_path, password=None) as terminal:
        terminal.wait_for("User name:")
        terminal.type("admin\n")
        terminal.wait_for("Password of admin:")
        terminal.type("wrong\n")
        terminal.wait_for("Wrong user name or password")
        terminal.wait_for("Password of admin:", after=terminal.text.index("Wrong"))
        terminal.type(f"{PASSWORD}\n")
        terminal.wait_for("Ctrl-D leaves", PROMPT)
        terminal.type("\x04")
        assert terminal.end() == 0
        assert PASSWORD not in terminal.text


def test_a_conversation_in_a_terminal(server: Server, tmp_path: Path) -> None:
    with talking(server, tmp_path) as terminal:
        tools = terminal.ask("/tools")
        assert "✔" in tools
        assert "✘" in tools
        assert "second message" in terminal.ask("/echo **second** message")
        at = len(terminal.text)
        terminal.type("/new\n")
        terminal.wait_for("a new task begins", PROMPT, after=at)
        assert "and another" in terminal.ask("/echo one line \\\nand another")
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_ctrl_c_cancels_first_and_leaves_then(server: Server, tmp_path: Path) -> None:
    with talking(server, tmp_path) as terminal:
        terminal.type("/slow\n")
        terminal.wait_for("Assistant writes")
        terminal.type("\x03")
        terminal.wait_for("The answer was cancelled.")
        terminal.wait_for(PROMPT, after=terminal.text.index("The answer was cancelled."))
        assert "still here" in terminal.ask("/echo still here")
        terminal.type("\x03")
        assert terminal.end() == 130


def test_an_answer_that_failed_is_tried_again(server: Server, tmp_path: Path) -> None:
    with talking(server, tmp_path) as terminal:
        for said in ("/error", "/retry"):
            assert "This sentence is kept" in terminal.ask(said)
        assert "still here" in terminal.ask("/echo still here")
        at = len(terminal.text)
        terminal.type("/retry\n")
        terminal.wait_for("neither failed nor was stopped", PROMPT, after=at)
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_plain_answers_of_a_conversation_are_whole_and_their_endings_told(server: Server, tmp_path: Path) -> None:
    with Terminal("--server", server.url, "--user", "admin", "--plain", home=tmp_path) as terminal:
        terminal.wait_for(PROMPT)
        for said, words in (
            ("/retry", "wegent: the last answer neither failed nor was stopped"),
            ("/echo the first answer", "the first answer"),
            ("/echo a second one", "a second one"),
            ("/error", "wegent: The answer failed"),
            ("/retry", "wegent: The answer failed"),
            ("/echo the last", "the last"),
            ("/retry", "wegent: the last answer neither failed nor was stopped"),
            ("/new", "wegent: a new task begins"),
        ):
            at = len(terminal.text)
            terminal.type(f"{said}\n")
            terminal.wait_for(f"{said}\r\n", after=at)
            at = terminal.text.index(f"{said}\r\n", at) + len(said)
            terminal.wait_for(words, PROMPT, after=at)
            assert words.startswith("wegent: The answer failed") == ("This sentence is kept" in terminal.text[at:])
        assert "begins anew" not in terminal.text
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_ctrl_c_during_one_answer_cancels_it(server: Server, tmp_path: Path) -> None:
    with Terminal("--server", server.url, "--user", "admin", "/slow", home=tmp_path) as terminal:
        terminal.wait_for("Assistant writes")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "The answer was cancelled." in terminal.text


def test_the_terminal_is_left_as_it_was(server: Server, tmp_path: Path) -> None:
    with talking(server, tmp_path) as terminal:
        terminal.type("\x03")
        assert terminal.end() == 130
        modes = termios.tcgetattr(terminal._master)[3]
        assert modes & termios.ECHO
        assert modes & termios.ICANON


def test_a_task_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    with Terminal("--server", server.url, "--user", "admin", "/echo the first answer", home=tmp_path) as terminal:
        terminal.wait_for("go on with --task")
        assert terminal.end() == 0
        found = re.search(r"--task (\d+)", terminal.text)
    assert found is not None
    with talking(server, tmp_path, "--task", found[1]) as terminal:
        assert "the first answer" in terminal.text
        assert "the second answer" in terminal.ask("/echo the second answer")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_an_answer_that_is_under_way_is_joined(server: Server, tmp_path: Path) -> None:
    first = subprocess.Popen(
        [*CHAT, "--server", server.url, "--user", "admin", "/slow"],
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
    )
    assert first.stdout is not None
    with first:
        first.stdout.read1(10)
        token = server.login()
        task = server.get("/tasks", token)["items"][0]["id"]
        with Terminal("--server", server.url, "--task", str(task), home=tmp_path) as terminal:
            terminal.wait_for("Assistant writes")
            terminal.type("\x03")
            terminal.wait_for("The answer was cancelled.")
            terminal.wait_for(PROMPT, after=terminal.text.index("The answer was cancelled."))
            terminal.type("\x03")
            assert terminal.end() == 130
        first.stdout.read()
        assert first.wait(20) == 1


def test_a_chat_survives_a_restart_of_its_server(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "offline.tokens_per_s=200") as server, talking(server, tmp_path) as terminal:
        assert "before" in terminal.ask("/echo before")
        server.end(signal.SIGKILL)
        server.start()
        assert "after it" in terminal.ask("/echo after it")
        terminal.type("/quit\n")
        assert terminal.end() == 0


def test_an_answer_whose_server_is_killed_is_told_to_have_failed(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "data") as server,
        Terminal("--server", server.url, "--user", "admin", "/slow", home=tmp_path) as terminal,
    ):
        terminal.wait_for("Assistant writes")
        server.end(signal.SIGKILL)
        terminal.wait_for("trying again")
        server.start()
        assert terminal.end() == 1
        assert "The answer failed (worker_lost)" in terminal.text


def test_a_deactivated_user_is_put_out_with_a_reason(server: Server, tmp_path: Path) -> None:
    wegent = [sys.executable, "-m", "wegent.cli.main"]
    data = ["--data", str(server.data)]
    add = [*wegent, "user", "add", "bo", "--password-stdin", *data]
    subprocess.run(add, input=f"{PASSWORD}\n", text=True, capture_output=True, check=True, timeout=60)
    with Terminal("--server", server.url, "--user", "bo", home=tmp_path) as terminal:
        terminal.wait_for("Ctrl-D leaves", PROMPT)
        subprocess.run([*wegent, "user", "deactivate", "bo", *data], capture_output=True, check=True, timeout=60)
        assert terminal.end() == 1
        assert re.search(r"wegent: .*(active|revoked|denied)", terminal.text)
        assert "Traceback" not in terminal.text
