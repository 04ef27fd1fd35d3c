from __future__ import annotations

from typing import Any

import pytest

from wegent.core.config import build
from wegent.core.errors import ConfigError
from wegent.fanout.redis.plugin import RedisConfig


def configured(**section: Any) -> RedisConfig:
    return build(RedisConfig, {"url": "redis://:sesame@h", **section}, "redis")


def test_a_configuration_hides_its_url() -> None:
    config = configured(timeout=2)
    assert config.url == "redis://:sesame@h"
    assert config.timeout == 2.0
    assert "sesame" not in repr(config)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"timeout": 0}, "timeout"),
        ({"waiting": -1}, "waiting"),
        ({"prefix": "a{b}:"}, "no braces"),
        ({"urls": "x"}, "url"),
    ],
)
def test_a_configuration_that_is_wrong_is_told_so(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configured(**section)


def test_a_url_must_be_given() -> None:
    with pytest.raises(ConfigError, match="needs url"):
        build(RedisConfig, {}, "redis")
