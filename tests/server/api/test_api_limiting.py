"""Too many calls: refused until there is room again, each user and each address for itself, in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wegent.core.errors import RateLimited
from wegent.core.instruments import Counter
from wegent.server.api.limiting import Buckets, network_of
from wegent.server.api.plugin import ApiConfig

FEW = ApiConfig(user_rate=0.5, user_burst=3, address_rate=0.1, address_burst=2, proxies=("<local>",))
WRONG = {"user_name": "ada", "password": "wrong password"}


async def test_a_user_who_calls_too_often_is_told_when_to_come_back(remake: Any, autojump_clock: Any) -> None:
    scene = await remake(api=FEW)
    assert [(await scene.get("/users/me")).status for _ in range(4)] == [200, 200, 200, 429]
    refused = await scene.get("/users/me")
    assert (refused.json["code"], refused.json["retry_after"]) == ("RATE_LIMITED", 2)
    assert refused.headers["Retry-After"] == "2"
    assert (await scene.get("/users/me", token="bob")).status == 200
    await trio.sleep(1.9)
    assert (await scene.get("/users/me")).status == 429
    await trio.sleep(0.1)
    assert [(await scene.get("/users/me")).status for _ in range(2)] == [200, 429]
    await trio.sleep(3600)
    assert [(await scene.get("/users/me")).status for _ in range(4)] == [200, 200, 200, 429]


async def test_all_tokens_of_a_user_share_a_bucket_and_a_refused_token_costs_nothing(
    remake: Any, autojump_clock: Any
) -> None:
    scene = await remake(api=FEW)
    for _ in range(5):
        assert (await scene.get("/users/me", token="no token")).status == 401
    other = (await scene.post("/tokens", {})).json["token"]
    statuses = [(await scene.get("/users/me", token=token)).status for token in (other, "ada", other, "ada")]
    assert statuses == [200, 200, 429, 429]


async def test_hosts_and_devices_are_not_counted(remake: Any, autojump_clock: Any) -> None:
    scene = await remake(api=FEW)
    host = (await scene.post("/tokens", {"scope": "executor", "targets": ["farm"]}, token="boss")).json["token"]
    body = {"executor": "e", "targets": ["farm"], "limit": 1, "wait_s": 0}
    assert {(await scene.post("/tasks/fetch", body, token=host)).status for _ in range(10)} == {200}


async def test_an_address_that_logs_in_too_often_is_refused_and_others_are_not(
    remake: Any, autojump_clock: Any
) -> None:
    scene = await remake(api=FEW)

    async def login(way: str) -> int:
        headers = {"X-Forwarded-For": way}
        return (await scene.post("/auth/login", WRONG, token=None, headers=headers)).status

    assert [await login("10.0.0.1") for _ in range(3)] == [401, 401, 429]
    assert await login("10.0.0.2, 10.0.0.1") == 429  # what a client says of itself does not count
    assert await login("10.0.0.1, 10.0.0.2") == 401
    assert [await login(f"2001:db8::{n}") for n in range(3)] == [401, 401, 429]
    assert await login("2001:db8:0:1::1") == 401
    refused = await scene.post("/auth/register", WRONG, token=None, headers={"X-Forwarded-For": "10.0.0.1"})
    assert (refused.status, refused.json["retry_after"]) == (429, 10)
    await trio.sleep(10)
    assert [await login("10.0.0.1") for _ in range(2)] == [401, 429]


async def test_who_is_no_proxy_can_not_say_for_whom_it_calls(remake: Any, autojump_clock: Any) -> None:
    scene = await remake(api=ApiConfig(address_burst=1))
    headers = [{"X-Forwarded-For": f"10.0.0.{n}"} for n in range(3)]
    statuses = [(await scene.post("/auth/login", WRONG, token=None, headers=each)).status for each in headers]
    assert statuses == [401, 429, 429]


async def test_what_was_refused_is_counted(remake: Any, autojump_clock: Any) -> None:
    scene = await remake(api=FEW)
    for _ in range(5):
        await scene.get("/users/me")
    text = (await scene.call("GET", "/metrics", token=None)).body.decode()
    assert 'wegent_rate_limited_total{by="user"} 2.0' in text
    assert 'wegent_rate_limited_total{by="address"} 0.0' in text


async def test_no_limit_is_0(autojump_clock: Any) -> None:
    buckets = Buckets(0, 1, Counter())
    for _ in range(100):
        buckets.take("a")
    assert len(buckets) == 0


async def test_memory_is_bounded_and_those_who_have_not_called_for_long_are_forgotten(autojump_clock: Any) -> None:
    buckets = Buckets(1, 1, Counter(), size=100)
    for n in range(1_000):
        buckets.take(n)
        assert len(buckets) <= 100
    with pytest.raises(RateLimited):
        buckets.take(999)
    buckets.take(0)
    await trio.sleep(2)
    for n in range(60):
        buckets.take(f"new {n}")
    assert len(buckets) == 60


@given(st.lists(st.floats(0, 5), max_size=60), st.sampled_from([0.3, 1, 7]), st.integers(1, 5))
def test_a_bucket_gives_no_more_than_it_holds_and_gets(pauses: list[float], per_second: float, burst: int) -> None:
    """Compared with a bucket that is filled bit by bit."""

    async def run() -> None:
        buckets, level = Buckets(per_second, burst, Counter()), float(burst)
        for pause in pauses:
            await trio.sleep(pause)
            level = min(burst, level + pause * per_second)
            refused: RateLimited | None = None
            try:
                buckets.take("a")
            except RateLimited as error:
                refused = error
            if refused is None:
                assert level > 1 - 1e-6
                level -= 1
            else:
                assert level < 1 + 1e-6
                assert refused.details["retry_after"] >= (1 - level) / per_second - 1e-6

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::1", "::"),
        ("unix:" + "x" * 100, "unix:" + "x" * 59),
        ("", ""),
    ],
)
def test_addresses_of_one_site_count_as_one(address: str, network: str) -> None:
    assert network_of(address) == network
