"""The link to Redis while Redis is killed, hung, emptied, and while callers are cancelled."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.fanout.redis_server import LIMITS, RedisServer, link_to, until_down, until_up
from wegent.core.errors import BrokerAway
from wegent.fanout.redis.link import open_link
from wegent.fanout.redis.opening import Limits, carried
from wegent.fanout.redis.script import Script
from wegent.testing.checkpoints import Cut, at_every_checkpoint

LARGE = 20_000_000
_ECHO = Script("return ARGV[1]")


class Echo(trio.abc.Stream):
    """Answers every command with its own bytes, as a bulk reply; `sent` are the writes."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._replies, self._to_read = trio.open_memory_channel[bytes](1_000)

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(data)
        for part in data.split(b"<")[1:]:
            self._replies.send_nowait(b"$1\r\n%s\r\n" % part[:1])

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._to_read.receive()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_calls_of_one_moment_are_one_round_trip() -> None:
    echo, replies = Echo(), []
    async with carried(echo, LIMITS) as connection, trio.open_nursery() as nursery:

        async def call(number: int) -> None:
            assert await connection.call("ECHO", f"<{number % 10}>") == b"%d" % (number % 10)
            replies.append(number)

        for number in range(200):
            nursery.start_soon(call, number)
    assert sorted(replies) == list(range(200))
    assert len(echo.sent) == 1


async def test_each_caller_gets_its_own_reply_however_many_are_cancelled(shared_redis: RedisServer) -> None:
    async with open_link(link_to(shared_redis)) as link:
        right: list[int] = []

        async def ask(number: int) -> None:
            with trio.CancelScope() as scope:
                if number % 3 == 0:
                    scope.deadline = trio.current_time() + number % 7 / 1000
                for turn in range(20):
                    assert await link.call("ECHO", f"{number}.{turn}") == f"{number}.{turn}".encode()
                right.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        assert len(right) >= 66


async def test_a_call_cancelled_at_any_checkpoint_leaves_the_link_whole(shared_redis: RedisServer) -> None:
    async with open_link(link_to(shared_redis)) as link:

        async def attempt(cut: Cut) -> None:
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await link.call("ECHO", "before")
                await link.run_script(_ECHO, (), "script")
            assert await link.call("ECHO", "after") == b"after"

        assert await at_every_checkpoint(attempt) >= 2


async def test_large_values_pass_both_ways(shared_redis: RedisServer) -> None:
    async with open_link(link_to(shared_redis, waiting=1_000_000)) as link:
        value = b"0123456789" * (LARGE // 10)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(link.call, "SET", f"large{number}", value)
        assert await link.call("GET", "large1") == value
        await link.call("DEL", "large0", "large1", "large2")


async def test_who_finds_the_link_full_waits_for_room(shared_redis: RedisServer) -> None:
    async with open_link(link_to(shared_redis, waiting=10_000)) as link:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(link.call, "SET", "full", b"x" * 5_000)
            await trio.testing.wait_all_tasks_blocked()
        assert await link.call("DEL", "full") == 1


async def test_a_script_that_was_forgotten_is_told_again(redis_server: RedisServer) -> None:
    async with open_link(link_to(redis_server)) as link:
        for _ in range(2):
            assert await link.run_script(_ECHO, (), "a") == b"a"
            redis_server.do("SCRIPT", "FLUSH")
        assert await link.run_script(_ECHO, (), "b") == b"b"


async def test_a_refused_command_is_an_error_and_harms_nothing(shared_redis: RedisServer) -> None:
    async with open_link(link_to(shared_redis)) as link:
        with pytest.raises(BrokerAway, match="ERR"):
            await link.call("NO-SUCH-COMMAND")
        assert link.up
        assert await link.call("ECHO", "a") == b"a"


async def test_a_cut_connection_is_made_again_under_load(redis_server: RedisServer) -> None:
    async with open_link(link_to(redis_server)) as link:
        counts = {"right": 0, "away": 0}
        over = trio.Event()

        async def ask(number: int) -> None:
            turn = 0
            while not over.is_set():
                turn += 1
                try:
                    assert await link.call("ECHO", f"{number}.{turn}") == f"{number}.{turn}".encode()
                    counts["right"] += 1
                except BrokerAway:
                    counts["away"] += 1
                    await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
            for _ in range(5):
                await until_up(link)
                made = link.made
                assert await trio.to_thread.run_sync(redis_server.kill_clients, "normal") >= 1
                with trio.fail_after(10):
                    while link.made == made:  # noqa: ASYNC110
                        await trio.sleep(0.005)
            await until_up(link)
            await link.ready()
            over.set()
        assert counts["right"] > 100
        assert counts["away"] > 0


async def test_a_restart_is_noticed_at_once_and_survived(redis_server: RedisServer) -> None:
    async with open_link(link_to(redis_server)) as link:
        await trio.to_thread.run_sync(redis_server.stop)
        assert await until_down(link) < 1
        began = trio.current_time()
        with pytest.raises(BrokerAway):
            await link.call("PING")
        assert trio.current_time() - began < 0.1
        await trio.to_thread.run_sync(redis_server.start)
        await until_up(link, within=3)
        await link.ready()


@pytest.mark.parametrize("busy", [True, False], ids=["while a call waits", "while nothing happens"])
async def test_a_hung_server_is_noticed_within_a_second(redis_server: RedisServer, busy: bool) -> None:
    async with open_link(link_to(redis_server)) as link:
        await link.ready()
        redis_server.pause()
        try:
            began = trio.current_time()
            if busy:
                with pytest.raises(BrokerAway, match="no reply within"):
                    await link.call("PING")
            else:
                await until_down(link)
            assert trio.current_time() - began < 1.0
            await trio.sleep(0.5)  # attempts to come back fail meanwhile
            assert not link.up
        finally:
            redis_server.resume()
        await until_up(link, within=5)
        await link.ready()


async def test_nothing_of_a_hung_connection_comes_after_what_the_next_one_sends(redis_server: RedisServer) -> None:
    async with open_link(link_to(redis_server, timeout=0.2)) as link:
        redis_server.pause()
        try:
            with pytest.raises(BrokerAway):
                await link.call("RPUSH", "list", "old")
        finally:
            redis_server.resume()
        await until_up(link)
        await link.call("RPUSH", "list", "new")
        await trio.sleep(0.05)
        assert (await link.call("LRANGE", "list", 0, -1))[-1] == b"new"


async def test_a_long_reply_that_keeps_coming_is_no_hang(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with carried(ours, Limits(timeout=0.5)) as connection, trio.open_nursery() as nursery:

        async def answer_slowly() -> None:
            await theirs.receive_some()
            for piece in [b"$100\r\n", *10 * [b"0123456789"], b"\r\n"]:
                await trio.sleep(0.4)
                await theirs.send_all(piece)

        nursery.start_soon(answer_slowly)
        assert await connection.call("GET", "slow") == 10 * b"0123456789"
        with pytest.raises(BrokerAway, match=r"no reply within 0\.5 s"):
            await connection.call("GET", "never")


async def test_a_link_begins_while_the_server_is_away(redis_server: RedisServer) -> None:
    redis_server.stop()
    async with open_link(link_to(redis_server)) as link:
        assert not link.up
        with pytest.raises(BrokerAway, match=r"^Redis is away$"):
            await link.ready()
        assert "can't be reached" in link.reason
        await trio.to_thread.run_sync(redis_server.start)
        await until_up(link, within=3)


async def test_closing_a_link_takes_no_time_while_the_server_hangs(redis_server: RedisServer) -> None:
    try:
        with trio.fail_after(1):
            async with open_link(link_to(redis_server)) as link:
                redis_server.pause()
                link.post_blind("PING")
    finally:
        redis_server.resume()


async def test_opening_is_cancelled_at_every_checkpoint(shared_redis: RedisServer) -> None:
    async def attempt(cut: Cut) -> None:
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            async with open_link(link_to(shared_redis)) as link:
                await link.ready()

    assert await at_every_checkpoint(attempt) > 5
    with trio.fail_after(10):
        while shared_redis.do("CLIENT", "LIST").count(b"name=test"):  # noqa: ASYNC110
            await trio.sleep(0.01)
