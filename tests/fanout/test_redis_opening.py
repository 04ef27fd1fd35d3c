"""Ways to a server: passwords, TLS, sockets, sentinels; and servers that are not to be used."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import trio

from tests.fanout.redis_server import LIMITS, RedisServer, until_down, until_up
from tests.storage.databases import Missing, free_port, running
from wegent.core.errors import BrokerAway, ConfigError
from wegent.fanout.redis.link import Link, open_link
from wegent.fanout.redis.url import parse_url


@contextmanager
def started(*more: str, kind: type[RedisServer] = RedisServer) -> Iterator[RedisServer]:
    class Special(kind):  # type: ignore[misc, valid-type]
        options: ClassVar[list[str]] = [*kind.options, *more]

    try:
        with running(Special) as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


def link_by(url: str) -> Link:
    return Link(parse_url(url), LIMITS, name="test")


async def reason_of(link: Link) -> str:
    with pytest.raises(BrokerAway, match=r"^Redis is away$"):
        await link.ready()
    return link.reason


class Guarded(RedisServer):
    options: ClassVar[list[str]] = ["--requirepass", "sesame", "--user", "me", "on", ">word", "~*", "&*", "+@all"]
    password = "sesame"


async def test_a_password_opens_and_a_wrong_one_is_a_matter_of_configuration() -> None:
    with started(kind=Guarded) as server:
        for login in (":sesame", "me:word"):
            async with open_link(link_by(f"redis://{login}@127.0.0.1:{server.port}/1")) as link:
                await link.ready()
        for login in ("", ":wrongword@", "me:wrongword@", "nobody:word@"):
            async with open_link(link_by(f"redis://{login}127.0.0.1:{server.port}")) as link:
                assert isinstance(link.refused, ConfigError)
                reason = await reason_of(link)
                assert "refuses the user, password" in reason
                assert "wrongword" not in reason


async def test_a_password_that_nobody_asks_for_and_a_database_that_is_not_there(shared_redis: RedisServer) -> None:
    for url in (f"redis://nobody:word@127.0.0.1:{shared_redis.port}", shared_redis.url("64")):
        async with open_link(link_by(url)) as link:
            assert isinstance(link.refused, ConfigError)


async def test_databases_are_apart(shared_redis: RedisServer) -> None:
    async with open_link(link_by(shared_redis.url("62"))) as one, open_link(link_by(shared_redis.url("63"))) as two:
        await one.call("SET", "apart", "one")
        assert await two.call("GET", "apart") is None


async def test_a_socket_is_a_way(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with started("--unixsocket", str(path)):
        async with open_link(link_by(f"redis+unix://{path}?db=1")) as link:
            await link.ready()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*make, *name, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_tls_is_spoken_and_its_certificate_checked(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    port = free_port()
    files = ["--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)]
    with started("--tls-port", str(port), "--tls-auth-clients", "no", *files):
        async with open_link(link_by(f"rediss://127.0.0.1:{port}?ca={cert}")) as link:
            await link.call("SET", "large", b"x" * 1_000_000)
            assert len(await link.call("GET", "large")) == 1_000_000
        async with open_link(link_by(f"rediss://127.0.0.1:{port}")) as link:
            assert "certificate" in (await reason_of(link)).lower()


async def test_a_cluster_is_refused_in_words() -> None:
    with started("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--databases", "1") as server:
        async with open_link(link_by(f"redis://127.0.0.1:{server.port}")) as link:
            assert isinstance(link.refused, ConfigError)
            assert "Cluster" in link.refused.sentence


async def test_a_replica_is_not_used() -> None:
    with started("--replicaof", "127.0.0.1", str(free_port()), "--replica-serve-stale-data", "yes") as server:
        async with open_link(link_by(f"redis://127.0.0.1:{server.port}")) as link:
            assert "not a master" in await reason_of(link)


async def test_a_master_that_became_a_replica_is_left(redis_server: RedisServer) -> None:
    async with open_link(link_by(redis_server.url("0"))) as link:
        redis_server.do("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(BrokerAway):
            await link.call("SET", "a", "b")
        await until_down(link)
        redis_server.do("REPLICAOF", "NO", "ONE")
        await until_up(link)
        await link.call("SET", "a", "b")


class Sentinel(RedisServer):
    """Watches a master that `watched` names."""

    watched: ClassVar[int] = 0

    def command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        if not config.exists():
            config.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
                f"sentinel monitor main 127.0.0.1 {self.watched} 1\n"
                "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
            )
        return [*super().command()[:1], str(config), "--sentinel"]


async def test_sentinels_tell_the_master_also_after_a_failover(redis_server: RedisServer) -> None:
    with started("--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        kind = type("Watching", (Sentinel,), {"watched": redis_server.port})
        with started(kind=kind) as sentinel:
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
            async with open_link(link_by(f"{url}/nobody")) as link:
                assert "knows the master" in await reason_of(link)
            async with open_link(link_by(f"{url}/main/1")) as link:
                await link.call("SET", "a", "b")
                with trio.fail_after(20):
                    while replica.do("GET", "a", db=1) != b"b" or not sentinel.do("SENTINEL", "REPLICAS", "main"):  # noqa: ASYNC110
                        await trio.sleep(0.05)
                await trio.to_thread.run_sync(redis_server.stop, signal.SIGKILL)
                await until_down(link)
                await until_up(link, within=30)
                assert await link.call("GET", "a") == b"b"
                assert await link.call("CONFIG", "GET", "port") == [b"port", b"%d" % replica.port]
