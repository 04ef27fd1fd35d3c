"""What `wegent executor` says before it asks a server for anything."""

from __future__ import annotations

import pytest

from wegent.cli.main import main

TOKEN = "a.eyJzY29wZSI6ImV4ZWN1dG9yIiwidGFyZ2V0cyI6WyJncHUiXX0.c"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "which server? Give --server URL"),
        (["--server", "http://127.0.0.1:9"], "which token? Give --token, or WEGENT_EXECUTOR_TOKEN"),
        (["--server", "http://127.0.0.1:9", "--token", "x"], "the token is none: make one by `wegent token add"),
        (["--server", "ftp://x", "--token", TOKEN], "'ftp://x' is no address of a server"),
        (["--server", "http://127.0.0.1:9", "--token", TOKEN, "--executor", "podman"], "there are: local, process"),
        (["--server", "http://127.0.0.1:9", "--token", TOKEN, "--slots", "0"], "slots is a number from 1 to"),
        (["--server", "http://127.0.0.1:9", "--token", TOKEN, "--set", "host.slot=1"], "did you mean 'slots'?"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(options, words, tmp_path, monkeypatch, capfd):
    for name in ("WEGENT_SERVER", "WEGENT_EXECUTOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("wegent.cli.working.configure", lambda *_: None)  # pytest's own handlers stay
    assert main(["executor", *options, "--data", str(tmp_path)]) == 2
    assert words in capfd.readouterr().err
