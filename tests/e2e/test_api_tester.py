"""A property-based API tester (schemathesis) makes calls out of the OpenAPI document, and finds nothing.

WEGENT_API_EXAMPLES=200 WEGENT_SEED=7 pytest tests/e2e/test_api_tester.py      # the long form
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.serving import Server, serving

EXAMPLES = os.environ.get("WEGENT_API_EXAMPLES", "4")
SEED = os.environ.get("WEGENT_SEED", str(int(time.time()) % 1_000_000))
ENDLESS = "^/api/v1/(tasks/.*/stream|tasks/fetch)$"
"""Calls that wait for something to happen."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("tester"), "log.level=ERROR", "api.user_rate=0") as found:
        yield found


def run_tester(server: Server, token: str, config: Path, *options: str) -> None:
    """Run it against the server; its report is shown if it finds something."""
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run"),
        *(f"{server.url}/api/v1/openapi.json", "--url", server.url, "-H", f"Authorization: Bearer {token}"),
        *("--max-examples", EXAMPLES, "--seed", SEED, "--request-timeout", "20", "--no-color"),
        *("--exclude-path-regex", ENDLESS, "--exclude-operation-id", "delete_tokens_revoke", *options),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=config.parent)
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout[-8_000:]}\n{done.stderr[-2_000:]}"
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) >= 40, done.stdout


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy: the tester leaves files beside it."""
    copy = tmp_path / "schemathesis.toml"
    copy.write_text((Path(__file__).parent / "schemathesis.toml").read_text())
    return copy


def test_nothing_is_found_with_any_id(server: Server, config: Path) -> None:
    mine = "put_users_change"  # with an id by chance it gives the tester another password
    run_tester(server, server.login(), config, "--phases", "coverage,fuzzing", "--exclude-operation-id", mine)


def test_nothing_is_found_with_ids_that_there_are(server: Server, config: Path) -> None:
    token = server.login()
    headers, api = {"Authorization": f"Bearer {token}"}, f"{server.url}/api/v1"
    sent = httpx.post(
        f"{api}/tasks", json={"team_id": server.team(token), "message": "/long 1"}, headers=headers
    ).json()
    base = httpx.post(f"{api}/knowledge-bases", json={"name": "b"}, headers=headers).json()["id"]
    document = httpx.post(f"{api}/knowledge-bases/{base}/documents", json={"title": "t", "text": "x"}, headers=headers)
    later = {"team_id": server.team(token), "prompt": "hi", "cron": "0 0 1 1 *", "timezone": "UTC"}
    execution = httpx.post(f"{api}/executions", json=later, headers=headers).json()["id"]
    user = httpx.post(f"{api}/users", json={"user_name": "eve", "password": "eve's password"}, headers=headers)
    known = {
        "user_id": user.json()["id"],
        "task_id": sent["task_id"],
        "subtask_id": sent["assistant_subtask_id"],
        "base_id": base,
        "document_id": document.json()["id"],
        "execution_id": execution,
        "response_id": f"resp_{sent['assistant_subtask_id']}",
        "kind": "team",
        "namespace": "default",
        "name": "assistant",
    }
    lines = "".join(f'"path.{name}" = "{value}"\n' for name, value in known.items())
    config.write_text(f"{config.read_text()}\n[parameters]\n{lines}")
    run_tester(server, token, config, "--phases", "fuzzing", "--exclude-method", "DELETE")
