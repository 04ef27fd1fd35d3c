"""Failures as HTTP answers: `{"error", "code", …}` with the fitting status, never a traceback (protocol §1, §10)."""

from __future__ import annotations

import logging
import math

from quart import has_request_context, request
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from wegent.core.errors import Internal, WegentError
from wegent.protocol.codes import Code
from wegent.server.api.calls import reply

log = logging.getLogger(__name__)

RETRY_S = 1
"""Seconds after which to come back, where nobody knows better."""
_CODES = {
    401: Code.NOT_AUTHENTICATED,
    403: Code.ACCESS_DENIED,
    404: Code.NOT_FOUND,
    409: Code.CONFLICT,
    429: Code.RATE_LIMITED,
    503: Code.OVERLOADED,
}
_SENTENCES = {
    400: "the request is not well-formed",
    404: "there is nothing at this path",
    408: "the body did not come in time",
    413: "the body is larger than this path takes",
}


async def answer_error(error: WegentError) -> TrioResponse:
    """An error of ours: its status, its fields; `Retry-After` where it is known, and always with 503."""
    if error.status >= 500 and not error.retry:
        log.error("%s failed: %s", _where(), error.sentence, exc_info=error)
    return headers_of(error, reply(error.as_payload(), error.status))


def headers_of(error: WegentError, response: TrioResponse) -> TrioResponse:
    """The answer to an error with the headers that belong to it."""
    wait = error.details.get("retry_after", RETRY_S if error.status == 503 else None)
    if isinstance(wait, int | float):
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def answer_http_error(error: HTTPException) -> TrioResponse:
    """What the framework refuses by itself: unknown paths, wrong methods, bodies that are too large or too slow."""
    status = error.code or 500
    code = _CODES.get(status, Code.INTERNAL if status >= 500 else Code.INVALID_PAYLOAD)
    sentence = _SENTENCES.get(status, (error.name or "the request was refused").lower())
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        allowed = ", ".join(sorted(error.valid_methods))
        response = reply({"error": f"this path takes {allowed}, not {request.method}"[:200], "code": code}, status)
        response.headers["Allow"] = allowed
        return response
    return reply({"error": sentence, "code": code}, status)


async def answer_defect(error: Exception) -> TrioResponse:
    """Whatever else was raised is a defect: the log has it whole, the client learns that there is one."""
    log.error("%s failed", _where(), exc_info=error)
    return reply(Internal("the server failed at this; its log says more").as_payload(), 500)


def _where() -> str:
    """The call by its rule: a path may hold what no log should."""
    if not has_request_context():
        return "a request"
    return f"{request.method[:16]} {request.url_rule.rule if request.url_rule else '(no route)'}"
