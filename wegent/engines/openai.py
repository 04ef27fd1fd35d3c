"""Engine `openai`: any endpoint that speaks OpenAI's chat completions or responses, streaming."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from attrs import evolve, field, frozen

from wegent.core.config import Secret
from wegent.core.ports.executor import Sink
from wegent.engines import completions, responses
from wegent.engines.exchange import Call, Exchange, ExchangeConfig, is_own
from wegent.engines.http import Pool, endpoint, open_pool
from wegent.protocol.chat_shell import UNNAMED, ApiFormat, ResponseRequest
from wegent.server.ports.engine import Completion, Engine


@frozen(kw_only=True)
class OpenAIConfig(ExchangeConfig):
    """What holds where a request's `model_config` says nothing, and the limits.

    Attributes:
        model: what is asked for where a bot has no model of its own.
        headers: sent with every request, as some gateways want them.
    """

    base_url: str = "https://api.openai.com/v1"
    model: str | None = None
    api_key: Secret | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    max_output_tokens: int | None = None


class OpenAIEngine(Engine):
    """Streams chat completions, or responses; see `Engine` for the contract. Made by `open`."""

    __slots__ = ("_config", "_exchange")

    def __init__(self, pool: Pool, config: OpenAIConfig, *, jitter: Callable[[], float] = random.random) -> None:
        self._config = config
        self._exchange = Exchange(pool, config, jitter)

    @classmethod
    @asynccontextmanager
    async def open(cls, config: OpenAIConfig | None = None) -> AsyncIterator[OpenAIEngine]:
        """An engine with a pool of its own, which is closed on leaving."""
        config = config or OpenAIConfig()
        async with open_pool(config.pool) as pool:
            yield cls(pool, config)

    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        """Answer; see `Engine.run`."""
        return await self._exchange.run(self._call(request), request.model_config, sink)

    def _call(self, request: ResponseRequest) -> Call:
        if self._config.model is not None and request.model_config.model_id == UNNAMED:
            named = evolve(request.model_config, model_id=self._config.model)
            request = evolve(request, model_config=named)
        model, config = request.model_config, self._config
        spoken = responses if model.api_format is ApiFormat.RESPONSES else completions
        url, host = endpoint(model.base_url or config.base_url, spoken.PATH)
        key = model.api_key or (config.api_key if is_own(model.base_url, config.base_url) else None)
        headers = {"content-type": "application/json", "accept": "text/event-stream", **config.headers}
        if key:
            headers["authorization"] = f"Bearer {key}"
        body = spoken.body_of(request, config.max_output_tokens)
        return Call(url, host, key, headers, body, partial(spoken.answer_to, host, model.model_id, key))
