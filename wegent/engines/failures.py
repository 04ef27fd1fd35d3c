"""What goes wrong with a provider, as sentences that a person can act on and that hold no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wegent.core.errors import RunFailed

_MOST = 300
_KEYS = re.compile(r"\b(?:sk|pk|key|Bearer)[-_ ][\w*.\-]{6,}", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\s]+")
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_ADVICE = {
    400: "Check the model's settings.",
    401: "Check the API key of this model.",
    402: "Check the provider account's credit.",
    403: "Check that the API key may use this model.",
    404: "Check the model's name and its base URL.",
    413: "Shorten the conversation, or start a new one.",
    422: "Check the model's settings.",
    429: "Try again later, or check the provider account's limits.",
}


class Refusal(RunFailed):
    """A run's failure on the provider's side.

    Attributes:
        passing: whether the same request may succeed when it is sent again.
        retry_after: seconds that the provider asks to wait, where it said.
    """

    def __init__(
        self, sentence: str, /, *, type: str = "model", passing: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(sentence, type=type)
        self.passing = passing
        self.retry_after = retry_after


def said(text: str, *secrets: str | None) -> str:
    """A provider's words on one line, bounded, with keys blanked out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _KEYS.sub("***", _CONTROLS.sub(" ", text[: 8 * _MOST])).strip()
    return text if len(text) <= _MOST else text[:_MOST].rstrip() + "…"


def message_of(body: Any) -> tuple[str, str]:
    """The message and the code that an error object holds, in any of the usual forms; empty where there is none."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        text = error.get("message") or error.get("detail") or error.get("type") or ""
        code = error.get("code") or error.get("type") or error.get("status") or ""
        return (text if isinstance(text, str) else str(text)), str(code)
    return (error, "") if isinstance(error, str) else ("", "")


def refused(
    host: str, status: int, message: str, code: str, *, secret: str | None, retry_after: float | None = None
) -> Refusal:
    """The refusal that an HTTP status, and what came with it, amounts to."""
    if 300 <= status < 400:
        return Refusal(f"{host} redirected the request ({status}), which is not followed. Check the base URL.")
    quota = code == "insufficient_quota"
    words = said(message, secret)
    advice = _ADVICE.get(402 if quota else status, "Try again later." if status >= 500 else "")
    told = f': "{words}"' if words else ""
    sentence = f"{host} refused the request ({status}){told}. {advice}".strip()
    return Refusal(sentence, passing=status in _PASSING and not quota, retry_after=retry_after)


def broken_off(host: str, message: str, code: str, *, secret: str | None) -> Refusal:
    """The refusal that an error object within a stream amounts to."""
    words = said(message, secret) or "no reason given"
    passing = (code.isdigit() and int(code) in _PASSING) or "overloaded" in code or "rate_limit" in code
    return Refusal(f'{host} broke the answer off with an error: "{words}". Try again.', passing=passing)
