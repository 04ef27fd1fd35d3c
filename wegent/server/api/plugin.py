"""REST and the page as plugins."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from attrs import field, frozen
from attrs.validators import ge

from wegent.core.clock import Clock
from wegent.core.health import Health
from wegent.core.instruments import Registry
from wegent.core.kernel import Worker
from wegent.core.outbox import OutboxLimits
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.remote import RemoteRuns
from wegent.core.sessions import Sessions
from wegent.core.timers import Timers
from wegent.server.api.auth import auth_blueprint
from wegent.server.api.blueprints import Blueprints
from wegent.server.api.changing import app_blueprint, changing_blueprint
from wegent.server.api.devices import devices_blueprint
from wegent.server.api.health import health_blueprint
from wegent.server.api.hosts import hosts_blueprint
from wegent.server.api.kinds import kinds_blueprint
from wegent.server.api.limiting import REFUSED, Buckets, Limits
from wegent.server.api.members import members_blueprint
from wegent.server.api.metrics import Exposition
from wegent.server.api.openapi import openapi_blueprint
from wegent.server.api.page import PageRoutes
from wegent.server.api.responses import ResponseCalls, responses_blueprint
from wegent.server.api.revoking import AllRevoked, Revoked
from wegent.server.api.stream import stream_blueprint
from wegent.server.api.tasks import rows_blueprint, tasks_blueprint
from wegent.server.api.tokens import tokens_blueprint
from wegent.server.api.users import users_blueprint
from wegent.server.auth import TokenAuth
from wegent.server.changing import Changing
from wegent.server.editing import Editing
from wegent.server.following import Followers
from wegent.server.hosts import Hosts
from wegent.server.joining import Joining
from wegent.server.members import Members
from wegent.server.ports.routes import Routes
from wegent.server.ports.siblings import Siblings
from wegent.server.ports.store import Store
from wegent.server.queueing import Queue
from wegent.server.sending import Sending
from wegent.server.stopping import Cancelling
from wegent.server.users import Users


@frozen(kw_only=True)
class ApiConfig:
    """`register`: whoever comes may become a user.

    Rates are calls a second in the long run, 0 for no limit, bursts how many at once; each worker counts by itself.
    `user_…` are all calls of a user, `address_…` logins and registrations from an address. `proxies` are addresses that
    say by `X-Forwarded-For` for whom they call.
    """

    register: bool = False
    user_rate: float = field(default=50.0, validator=ge(0))
    user_burst: int = field(default=1_000, validator=ge(1))
    address_rate: float = field(default=1.0, validator=ge(0))
    address_burst: int = field(default=100, validator=ge(1))
    proxies: tuple[str, ...] = ()


class ApiPlugin(Plugin):
    """The REST application (protocol §10); tokens that it revokes are told to every `Revoked` there is."""

    __slots__ = ("_followers",)
    name = "api"
    requires = (
        Store,
        TokenAuth,
        Sending,
        Cancelling,
        Members,
        Changing,
        Editing,
        Queue,
        RemoteRuns,
        Joining,
        Health,
        Registry,
    )
    wants = (Revoked, Siblings)
    provides = (Routes,)
    Config = ApiConfig

    def __init__(self) -> None:
        self._followers: Followers | None = None

    async def run(self, config: ApiConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Provide the routes."""
        sessions, limits = deps.one(Sessions), deps.one(OutboxLimits)
        self._followers = Followers(sessions, deps.one(Joining), limits, worker=deps.one(Worker).name)
        task_status.started([Provision(Routes, api_routes(deps, self._followers, config))])
        await trio.sleep_forever()

    async def drain(self, deadline: float) -> None:
        """Streams end; their readers come back to where they were."""
        if self._followers is not None:
            self._followers.close_all()


class PagePlugin(Plugin):
    """The page at `/`."""

    __slots__ = ()
    name = "page"
    provides = (Routes,)

    async def run(self, config: object, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Provide the routes."""
        task_status.started([Provision(Routes, PageRoutes())])
        await trio.sleep_forever()


def api_routes(deps: Deps, followers: Followers, config: ApiConfig) -> Routes:
    """Every blueprint of the API, over what plugins have brought."""
    store, auth, registry = deps.one(Store), deps.one(TokenAuth), deps.one(Registry)
    hosts = Hosts(deps.one(Queue), deps.one(RemoteRuns), auth.run_token, registry)
    responses = ResponseCalls(store, deps.one(Sending), deps.one(Cancelling), followers)
    users, revoked = Users(store, auth, deps.one(Clock)), AllRevoked(deps.all(Revoked).values())
    return Blueprints(
        [
            auth_blueprint(auth, users, register=config.register),
            users_blueprint(users, auth, revoked),
            tasks_blueprint(store, auth, deps.one(Sending), deps.one(Cancelling)),
            rows_blueprint(store, auth),
            changing_blueprint(auth, deps.one(Changing), deps.one(Editing)),
            app_blueprint(auth, deps.one(Changing)),
            stream_blueprint(followers, deps.one(Timers), auth),
            responses_blueprint(responses, deps.one(Timers), auth),
            members_blueprint(auth, deps.one(Members)),
            hosts_blueprint(hosts, auth),
            kinds_blueprint(store, auth),
            devices_blueprint(store, auth),
            tokens_blueprint(store, auth, revoked),
            openapi_blueprint(),
            health_blueprint(deps.one(Health), Exposition(registry), deps.maybe(Siblings)),
        ],
        Limits(
            users=Buckets(config.user_rate, config.user_burst, registry.counter(*REFUSED, by="user")),
            addresses=Buckets(config.address_rate, config.address_burst, registry.counter(*REFUSED, by="address")),
            proxies=config.proxies,
        ),
    )
