"""Configuration: what is taken from where, and what is said about what is wrong."""

from pathlib import Path

import pytest
from attrs import field, frozen

from wegent.core.config import Secret, build, from_environment, from_settings, merge, read_toml, unknown_section
from wegent.core.errors import ConfigError


@frozen
class Inner:
    size: int = 1


@frozen
class Section:
    name: str
    port: int = 80
    ratio: float = 0.5
    on: bool = False
    tags: tuple[str, ...] = ()
    maybe: int | None = None
    folder: Path = Path()
    password: Secret | None = None
    inner: Inner = Inner()
    limits: dict[str, int] = field(factory=dict)


def test_a_section_is_built_by_its_types(tmp_path):
    data = {
        "name": "x",
        "port": 1,
        "ratio": 2,
        "on": True,
        "tags": ["a", "b"],
        "maybe": 3,
        "folder": str(tmp_path),
        "inner": {"size": 4},
        "limits": {"a": 1},
    }
    made = build(Section, data, "s")
    assert (made.ratio, made.tags, made.folder, made.inner.size) == (2.0, ("a", "b"), tmp_path, 4)
    assert build(Section, {"name": 3}, "s").name == "3"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"name": "x", "prot": 1}, r"\[s\] has no key 'prot'; did you mean 'port'\?"),
        ({"name": "x", "zzz": 1}, r"has no key 'zzz'; it has folder, inner"),
        ({}, r"\[s\] needs name"),
        ({"name": "x", "port": "many"}, r"s.port takes a whole number, not 'many'"),
        ({"name": "x", "port": True}, r"s.port takes a whole number"),
        ({"name": "x", "on": 1}, r"s.on takes true or false"),
        ({"name": "x", "tags": "a"}, r"s.tags takes a list"),
        ({"name": "x", "inner": {"sice": 1}}, r"\[s.inner\] has no key 'sice'; did you mean 'size'"),
        ({"name": ["x"]}, r"s.name takes a text"),
        ({"name": "x", "password": {"env": "NOT_SET_AT_ALL"}}, r"the environment has no NOT_SET_AT_ALL"),
        ({"name": "x", "password": {"file": "/no/such/file"}}, r"/no/such/file can't be read"),
    ],
)
def test_what_is_wrong_is_named(data, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build(Section, data, "s")


def test_a_secret_comes_by_reference_and_is_not_shown(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("A_SECRET", "from outside")
    one = build(Section, {"name": "x", "password": {"env": "A_SECRET"}}, "s")
    two = build(Section, {"name": "x", "password": {"file": str(tmp_path / "secret")}}, "s")
    assert (one.password, two.password) == ("from outside", "from a file")
    assert "outside" not in repr(one)
    assert "file" not in repr(two)


def test_later_sources_win_key_by_key():
    merged = merge({"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2]}}, {"a": {"z": 3}})
    assert merged == {"a": {"x": 1, "y": [2], "z": 3}, "b": 1}


def test_environment_and_settings_are_paths():
    assert from_environment({"WEGENT__HTTP__PORT": "80", "WEGENT__HTTP__NAME": "x", "OTHER": "1"}) == {
        "http": {"port": 80, "name": "x"}
    }
    assert from_settings(["a.b=1", "a.c=[1, 2]", "a.d=plain text", "e=true"]) == {
        "a": {"b": 1, "c": [1, 2], "d": "plain text"},
        "e": True,
    }
    for wrong in ("a.b", "=1", "a..b=1"):
        with pytest.raises(ConfigError, match=r"section\.key=value"):
            from_settings([wrong])
    with pytest.raises(ConfigError, match="a value, not a section"):
        from_settings(["a=1", "a.b=2"])


def test_a_file_that_is_none_is_an_error_with_a_sentence(tmp_path):
    (tmp_path / "bad.toml").write_text("a = = 1")
    (tmp_path / "good.toml").write_text("[a]\nb = 1\n")
    assert read_toml(tmp_path / "good.toml") == {"a": {"b": 1}}
    for name, sentence in (("bad.toml", "is not valid TOML"), ("none.toml", "can't be read")):
        with pytest.raises(ConfigError, match=sentence):
            read_toml(tmp_path / name)


def test_an_unknown_section_suggests_the_nearest():
    assert "did you mean 'storage'" in unknown_section("storege", ["storage", "http"]).sentence


def test_a_text_that_looks_like_a_number_stays_as_it_was_written():
    @frozen
    class Config:
        password: Secret | None = None
        name: str = ""
        count: int = 0

    tree = merge(from_environment({"WEGENT__DB__PASSWORD": "1.10"}), from_settings(["db.name=007", "db.count=7"]))
    assert build(Config, tree["db"], "db") == Config(password=Secret("1.10"), name="007", count=7)
