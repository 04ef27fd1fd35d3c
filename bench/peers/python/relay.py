"""Reads an OpenAI-compatible stream of chat completion chunks with httpx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx


async def relay(http: httpx.AsyncClient, base_url: str, text: str) -> AsyncIterator[str]:
    """Yields the text of each delta."""
    body = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": text}]}
    async with http.stream("POST", f"{base_url}/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            choices = json.loads(line[6:])["choices"]
            if choices and (delta := choices[0]["delta"].get("content")):
                yield delta
