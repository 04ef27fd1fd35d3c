"""The web application: what plugins add to it, within limits, errors and headers that hold for all."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from quart.wrappers import Request, Response
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from wegent.core.errors import WegentError
from wegent.protocol.limits import MAX_PAYLOAD
from wegent.server.api.errors import answer_defect, answer_error, answer_http_error
from wegent.server.api.headers import Sites, add_headers
from wegent.server.api.pacing import PacedConnection, PacedRequest
from wegent.server.ports.routes import Routes


@frozen
class AppConfig:
    """`origins`: sites whose pages may call the API, `*` for any. `max_body` in bytes, times in seconds."""

    origins: tuple[str, ...] = ()
    max_body: int = MAX_PAYLOAD
    body_timeout: float = 30.0
    response_timeout: float = 60.0


def make_app(routes: Iterable[Routes], config: AppConfig | None = None) -> QuartTrio:
    """The application with all `routes`, ready to be served as ASGI."""
    config = config or AppConfig()
    app = _App("wegent", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=config.max_body,
        BODY_TIMEOUT=config.body_timeout,
        RESPONSE_TIMEOUT=config.response_timeout,
        PROPAGATE_EXCEPTIONS=False,
    )
    app.url_map.merge_slashes = False  # a redirect would answer in HTML
    add_headers(app, Sites.of(config.origins))
    app.register_error_handler(WegentError, answer_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_defect)
    for each in routes:
        each.register(app)
    return app


class _App(QuartTrio):
    """Quart, but for requests so malformed that they fail before there is a request to dispatch, and for bodies that
    come faster than they are taken.
    """

    asgi_http_class = PacedConnection
    request_class = PacedRequest

    async def handle_request(self, request: Request) -> Response | WerkzeugResponse:
        try:
            return await super().handle_request(request)
        except HTTPException as error:
            return _bare(await answer_http_error(error))
        except Exception as error:
            return _bare(await answer_defect(error))


def _bare(response: TrioResponse) -> TrioResponse:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
