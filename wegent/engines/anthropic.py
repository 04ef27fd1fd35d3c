"""Engine `anthropic`: any endpoint that speaks Anthropic's Messages interface, streaming."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from attrs import evolve, field, frozen

from wegent.core.config import Secret
from wegent.core.ports.executor import Sink
from wegent.engines.exchange import Call, Exchange, ExchangeConfig, is_own, path_below
from wegent.engines.http import Pool, endpoint, open_pool
from wegent.engines.messages import PATH, VERSION, MessagesAnswer, body_of
from wegent.protocol.chat_shell import UNNAMED, ResponseRequest
from wegent.server.ports.engine import Completion, Engine


@frozen(kw_only=True)
class AnthropicConfig(ExchangeConfig):
    """What holds where a request's `model_config` says nothing, and the limits.

    Attributes:
        model: what is asked for where a bot has no model of its own.
        max_output_tokens: the interface wants a number with every request.
        thinking: what is sent as `thinking` where the asker wants deep thinking, such as
            `{type = "enabled", budget_tokens = 4000}`; models differ in what they take.
        version: of the interface.
        headers: sent with every request, as some gateways want them.
    """

    base_url: str = "https://api.anthropic.com"
    model: str | None = None
    api_key: Secret | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    version: str = "2023-06-01"
    max_output_tokens: int = 8192
    thinking: Mapping[str, Any] | None = None


class AnthropicEngine(Engine):
    """Streams messages; see `Engine` for the contract. Made by `open`."""

    __slots__ = ("_config", "_exchange")

    def __init__(self, pool: Pool, config: AnthropicConfig, *, jitter: Callable[[], float] = random.random) -> None:
        self._config = config
        self._exchange = Exchange(pool, config, jitter)

    @classmethod
    @asynccontextmanager
    async def open(cls, config: AnthropicConfig | None = None) -> AsyncIterator[AnthropicEngine]:
        """An engine with a pool of its own, which is closed on leaving."""
        config = config or AnthropicConfig()
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
        base_url = model.base_url or config.base_url
        url, host = endpoint(base_url, path_below(base_url, VERSION, PATH))
        key = model.api_key or (config.api_key if is_own(model.base_url, config.base_url) else None)
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream",
            "anthropic-version": config.version,
            **config.headers,
        }
        if key:
            headers["x-api-key"] = key
        body = body_of(request, config.max_output_tokens, config.thinking)
        return Call(url, host, key, headers, body, partial(MessagesAnswer, host, model.model_id, key))
