"""Which pages may connect."""

from __future__ import annotations

import pytest

from wegent.transports.origins import Origins

HOST = "chat.example:8000"


@pytest.mark.parametrize("origin", [None, "http://chat.example:8000", "https://Chat.Example:8000"])
def test_the_own_host_and_clients_that_are_no_page_may_connect(origin: str | None) -> None:
    assert Origins().allows(origin, HOST)


@pytest.mark.parametrize(
    "origin",
    [
        "http://chat.example",
        "http://evil.example:8000",
        "http://chat.example:8000.evil.example",
        "http://evil.example/chat.example:8000",
        "http://chat.example:8000@evil.example",
        "null",
        "",
        "chat.example:8000",
        "http://[",
        "http://[::1",
        "\xff",
    ],
)
def test_others_may_not(origin: str) -> None:
    assert not Origins().allows(origin, HOST)
    assert not Origins(("https://app.example",)).allows(origin, HOST)
    assert not Origins().allows(origin, None)


def test_those_listed_may() -> None:
    origins = Origins(("https://App.Example/", "http://localhost:3000"))
    assert origins.allows("https://app.example", HOST)
    assert origins.allows("http://localhost:3000", HOST)
    assert not origins.allows("http://app.example", HOST)
    assert Origins(("*",)).allows("https://anybody.example", HOST)
