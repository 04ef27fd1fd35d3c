"""Which engine answers."""

from __future__ import annotations

from collections.abc import Mapping

from wegent.core.errors import ConfigError, RunFailed
from wegent.protocol.chat_shell import ModelConfig
from wegent.server.ports.engine import Engine


class EngineChoice:
    """Engines by name, and how one is chosen for a model.

    A model that names its engine gets that one; one that names an endpoint or a key gets `endpoint_engine`, since
    it is meant to be reached over the network; any other gets the default.
    """

    __slots__ = ("_default", "_endpoint", "_engines")

    def __init__(
        self, engines: Mapping[str, Engine], default: str = "offline", *, endpoint_engine: str = "openai"
    ) -> None:
        if default not in engines:
            known = ", ".join(sorted(engines)) or "none"
            raise ConfigError(f"The default engine is `{default}`, but the engines that are loaded are: {known}")
        self._engines = dict(engines)
        self._default = default
        self._endpoint = endpoint_engine

    def of(self, model: ModelConfig) -> Engine:
        """The engine for a model.

        Raises:
            RunFailed: the model wants one that is not there.
        """
        has_endpoint = model.base_url is not None or model.api_key is not None
        name = model.engine or (self._endpoint if has_endpoint else self._default)
        if name not in self._engines:
            known = ", ".join(sorted(self._engines))
            raise RunFailed(f"The model wants the engine `{name}`, but there are only: {known}.", type="model")
        return self._engines[name]
