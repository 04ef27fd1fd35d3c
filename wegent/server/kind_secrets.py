"""Secrets in kinds: nobody is shown one, written back hidden they stay, and public models may name the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

from wegent.core.errors import Conflict, InvalidPayload

HIDDEN: Final = "…"
"""What is shown in a secret's place; written there, it keeps what is stored."""
SECRET_VARIABLE: Final = "WEGENT_SECRET_"  # noqa: S105 - the beginning of a name, not a secret
"""How the names of those variables begin that a public Model's `api_key` may be taken from."""
_SECRET: Final = re.compile(r"key|token|secret|password|passwd|authorization|credential|cookie", re.IGNORECASE)
_SETTINGS: Final = ("env", "headers")
"""Names of objects each value of which may be a secret."""
_WITH_PASSWORD: Final = re.compile(r"://[^/@\s]+@")
_VARIABLE: Final = re.compile(SECRET_VARIABLE + "[A-Za-z0-9_]{1,100}")


def is_reference(value: Any) -> bool:
    """Whether it is `{"env": "WEGENT_SECRET_…"}`, which is no secret itself."""
    if not isinstance(value, Mapping) or set(value) != {"env"}:
        return False
    return isinstance(value["env"], str) and _VARIABLE.fullmatch(value["env"]) is not None


def hide(value: Any) -> Any:
    """The value with `HIDDEN` for each text that looks like a secret by its key, or is an address with a password."""
    return _hide(value, secret=False)


def _hide(value: Any, *, secret: bool) -> Any:
    if isinstance(value, Mapping):
        if secret and is_reference(value):
            return value
        return {key: _hide(item, secret=secret or _names_secret(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hide(item, secret=secret) for item in value]
    return HIDDEN if _is_hidden(value, secret=secret) else value


def _names_secret(key: str) -> bool:
    return key in _SETTINGS or bool(_SECRET.search(key))


def _is_hidden(value: Any, *, secret: bool) -> bool:
    return isinstance(value, str) and bool(value) and (secret or bool(_WITH_PASSWORD.search(value)))


def keep(new: Any, stored: Any, path: str = "") -> Any:
    """What is written, with the stored secrets where it says `HIDDEN`.

    Raises:
        InvalidPayload: it says so where there is nothing to keep.
    """
    return _keep(new, stored, path, secret=False)


def _keep(new: Any, stored: Any, path: str, *, secret: bool) -> Any:
    if isinstance(new, Mapping):
        before = stored if isinstance(stored, Mapping) else {}
        return {
            key: _keep(item, before.get(key), f"{path}.{key}" if path else key, secret=secret or _names_secret(key))
            for key, item in new.items()
        }
    if isinstance(new, list | tuple):
        same = isinstance(stored, list | tuple) and len(stored) == len(new)
        return [
            _keep(item, stored[index] if same else None, f"{path}[{index}]", secret=secret)
            for index, item in enumerate(new)
        ]
    if new != HIDDEN:
        return new
    if _is_hidden(stored, secret=secret):
        return stored
    if new != stored and (secret or path.endswith("url")):
        message = f"`{path}`: {HIDDEN} keeps the secret that is stored, but there is none; write the secret itself"
        raise InvalidPayload(message, field=path)
    return new


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those entries in which there is nothing to hide."""
    return {key: value for key, value in hide(values).items() if value == values[key]}


def resolved_key(model: str, config: Mapping[str, Any], *, public: bool) -> dict[str, Any]:
    """The `modelConfig` with its `api_key` taken from the server's environment, if it is a reference.

    Raises:
        Conflict: the environment has no such variable, or the model is somebody's own.
    """
    if not isinstance(config.get("api_key"), Mapping):
        return dict(config)
    variable = config["api_key"].get("env")
    found = os.environ.get(variable) if public and is_reference(config["api_key"]) else None
    if not found:
        message = f"Model {model!r} takes its key from the server's environment, which has none for it"
        raise Conflict(message)
    return {**config, "api_key": found}
