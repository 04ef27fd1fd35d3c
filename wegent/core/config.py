"""Configuration: one TOML file, then the environment, then `--set`; checked key by key."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from wegent.core.errors import ConfigError

T = TypeVar("T")
Tree = dict[str, Any]
PREFIX = "WEGENT__"


class Secret(str):
    """A string that a shown configuration hides."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


def read_toml(path: Path) -> Tree:
    """The file as a tree.

    Raises:
        ConfigError: it is not there, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"the configuration file {path} can't be read: {error.strerror}"
        raise ConfigError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"the configuration file {path} is not valid TOML: {error}"
        raise ConfigError(message) from error


def merge(*trees: Mapping[str, Any]) -> Tree:
    """Later trees win, key by key; lists are replaced whole."""
    merged: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                merged[key] = merge(merged[key], value)
            else:
                merged[key] = merge(value) if isinstance(value, Mapping) else value
    return merged


def from_environment(environ: Mapping[str, str]) -> Tree:
    """`WEGENT__SECTION__KEY=value` for each; `_` in a name stands for `-` in a section where only that exists."""
    tree: Tree = {}
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            _put(tree, name[len(PREFIX) :].lower().split("__"), value, name)
    return tree


def from_settings(settings: Iterable[str]) -> Tree:
    """`a.b=c` for each, as on the command line."""
    tree: Tree = {}
    for setting in settings:
        path, found, value = setting.partition("=")
        if not found or not all(path.split(".")):
            message = f"--set takes section.key=value, not {setting!r}"
            raise ConfigError(message)
        _put(tree, path.split("."), value, setting)
    return tree


def _put(tree: Tree, path: list[str], value: str, source: str) -> None:
    for key in path[:-1]:
        inner: Any = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            message = f"{source}: {key} is a value, not a section"
            raise ConfigError(message)
        tree = inner
    tree[path[-1]] = _literal(value)


class _AsWritten:
    """A value that reads as something other than text, with the way it was written: a password may be 1.10."""

    def __init__(self, text: str, value: Any) -> None:
        self.text = text
        self.value = value

    def __eq__(self, other: object) -> bool:
        return bool((other.value if isinstance(other, _AsWritten) else other) == self.value)

    __hash__ = None  # type: ignore[assignment]


def _literal(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, (str, bool, list, dict)) else _AsWritten(text, value)


def build(cls: type[T], data: Mapping[str, Any], section: str) -> T:
    """An attrs class from its section of the tree.

    Raises:
        ConfigError: a key that is unknown (the nearest one is suggested), or a value of the wrong type.
    """
    fields = {field.name: field for field in attrs.fields(cls)}  # type: ignore[arg-type]
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise ConfigError(f"[{section}] has no key {key!r}" + nearest(name, fields))
        values[name] = _convert(hints[name], _resolve(value, f"{section}.{key}"), f"{section}.{key}")
    missing = [name for name, field in fields.items() if field.default is attrs.NOTHING and name not in values]
    if missing:
        raise ConfigError(f"[{section}] needs {', '.join(missing)}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"[{section}]: {error}") from error


def unknown_section(name: str, known: Iterable[str]) -> ConfigError:
    """The error for a section that belongs to nothing that is loaded."""
    return ConfigError(f"there is no plugin for section [{name}]" + nearest(name, known))


def nearest(name: str, known: Iterable[str]) -> str:
    """How the sentence about an unknown name goes on: with the nearest known one, else with all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else (f"; it has {', '.join(known)}" if known else "")


def _resolve(value: Any, path: str) -> Any:
    if not isinstance(value, Mapping) or set(value) not in ({"env"}, {"file"}):
        return value
    if "env" in value:
        found = os.environ.get(str(value["env"]))
        if found is None:
            message = f"{path}: the environment has no {value['env']}"
            raise ConfigError(message)
        return Secret(found)
    try:
        return Secret(Path(value["file"]).read_text(encoding="utf-8").strip())
    except OSError as error:
        message = f"{path}: {value['file']} can't be read: {error.strerror}"
        raise ConfigError(message) from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    value = _as_meant(hint, value)
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _convert_union(args, value, path)
    if origin is Literal:
        if value in args:
            return value
        message = f"{path} takes one of {', '.join(map(repr, args))}, not {value!r}"
        raise ConfigError(message)
    if attrs.has(hint) and isinstance(value, Mapping):
        return build(hint, value, path)
    if origin in (tuple, list) and isinstance(value, (list, tuple)):
        return origin(_convert(args[0], item, path) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {str(key): _convert(args[1], item, f"{path}.{key}") for key, item in value.items()}
    plain = origin or hint
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if plain in (str, Secret) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return plain(value)
    if plain is Path and isinstance(value, str):
        return Path(value)
    if isinstance(plain, type) and isinstance(value, plain) and not (plain is int and isinstance(value, bool)):
        return value
    message = f"{path} takes {_name(hint)}, not {value!r}"
    raise ConfigError(message)


def _as_meant(hint: Any, value: Any) -> Any:
    """The text or the value of what was written; of a union each member looks for itself."""
    if not isinstance(value, _AsWritten) or get_origin(hint) in (Union, UnionType):
        return value
    return value.text if hint in (str, Secret) else value.value


def _convert_union(args: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and NoneType in args:
        return None
    options = [arg for arg in args if arg is not NoneType]
    for option in options[:-1]:
        try:
            return _convert(option, value, path)
        except ConfigError:
            continue
    return _convert(options[-1], value, path)


def _name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Secret: "a text"}
    origin = get_origin(hint)
    if origin in (list, tuple):
        return "a list"
    return names.get(hint, getattr(hint, "__name__", str(hint)))
