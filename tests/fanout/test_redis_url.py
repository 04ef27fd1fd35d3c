from __future__ import annotations

from pathlib import Path

import pytest

from wegent.core.errors import ConfigError
from wegent.fanout.redis.url import Address, Login, Target, parse_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://localhost", Target((Address("localhost", 6379),))),
        ("redis://h:1/2", Target((Address("h", 1),), database=2)),
        ("redis://[::1]:1?db=3", Target((Address("::1", 1),), database=3)),
        ("redis://:p%40ss@h", Target((Address("h", 6379),), login=Login("", "p@ss"))),
        ("redis://me:word@h/", Target((Address("h", 6379),), login=Login("me", "word"))),
        ("redis+unix:///run/my%20redis?db=4", Target((Address(path="/run/my redis"),), database=4)),
        ("redis+unix://:word@/run/redis", Target((Address(path="/run/redis"),), login=Login("", "word"))),
        (
            "redis+sentinel://me:word@a,b:2/main/5?sentinel_user=s&sentinel_password=t",
            Target((Address("a", 26379), Address("b", 2)), "main", Login("me", "word"), Login("s", "t"), 5),
        ),
    ],
)
def test_a_url_names_its_target(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize("scheme", ["rediss://h/1", "rediss+sentinel://h/main/1"])
def test_tls_is_asked_for_by_the_scheme_and_checks_names(scheme: str) -> None:
    target = parse_url(scheme)
    assert target.tls is not None
    assert target.tls.check_hostname
    assert target.database == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "one of redis://"),
        ("h:6379", "one of redis://"),
        ("redis+cluster://:sesame@h", "Cluster is not supported"),
        ("redis://:sesame@", "names a host"),
        ("redis://:sesame@h:port", "a port that is none"),
        ("redis://:sesame@h/main", "not 'main'"),
        ("redis://:sesame@h/1/2", "goes on with /2"),
        ("redis://:sesame@h?database=1", "not database"),
        ("redis+sentinel://:sesame@h", "names what they watch"),
        ("redis+sentinel://:sesame@h,,g/main", "names a host"),
        ("redis+unix://:sesame@", "names its path"),
        ("rediss://:sesame@h?ca=/nowhere/ca.pem", "can't be used"),
        ("rediss://:sesame@h?cert=/nowhere/cert.pem", "can't be used"),
    ],
)
def test_a_url_that_is_none_is_told_what_would_be_right(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        parse_url(url)
    assert "sesame" not in raised.value.sentence


def test_a_target_is_told_without_its_passwords() -> None:
    for url in ("redis://me:sesame@h/1", "redis+sentinel://me:sesame@h/main?sentinel_password=sesame"):
        assert "sesame" not in str(parse_url(url)) + repr(parse_url(url))


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="certificates"):
        parse_url(f"rediss://h?ca={tmp_path}/ca.pem")
