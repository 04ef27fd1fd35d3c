"""Whatever the protocol has goes over the wire: each row of its table is seen by clients that others wrote."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.e2e.protocol_list import ELSEWHERE, NOT_YET, TABLE, rendered, rows
from tests.e2e.protocol_scene import SETTINGS
from tests.e2e.protocol_story import tell
from tests.e2e.serving import serving
from wegent.protocol.events import EVENTS


def test_the_committed_table_is_the_list() -> None:
    assert TABLE.read_text() == rendered(), "python -m tests.e2e.protocol_list"


def test_the_list_has_every_event() -> None:
    there = {f"{'client' if each.from_client else 'server'} {each.namespace} {each.name}" for each in EVENTS}
    assert there == {row for row in rows() if row.startswith(("client", "server"))}


def test_the_losses_that_are_seen_elsewhere_have_tests() -> None:
    assert all(Path(path).is_file() for path in ELSEWHERE.values())


def test_stock_clients_see_every_row(tmp_path: Path) -> None:
    with serving(tmp_path / "data", *SETTINGS) as server:
        document = httpx.get(f"{server.url}/api/v1/openapi.json").json()
        calls = {f"rest {verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs}
        listed = {row for row in rows() if row.startswith("rest")} - set(NOT_YET)
        assert {call.replace(" /api/v1/", " /") for call in calls} == listed
        seen = tell(server, tmp_path)
    assert set(rows()) - seen == set(NOT_YET)
    assert seen <= set(rows())
