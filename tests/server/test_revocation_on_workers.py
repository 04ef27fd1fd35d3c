"""Who is shut out loses the connections to every worker within three seconds, although no worker is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import trio
import trio.testing

from wegent.server.auth import TokenAuth
from wegent.server.revocation import Revocation
from wegent.server.tokens import Signer
from wegent.testing.deployment import deployment
from wegent.testing.scripted import ScriptedExecutor


async def test_revoked_tokens_and_inactive_users_are_put_out_everywhere(autojump_clock: Any) -> None:
    async with deployment(2, ScriptedExecutor()) as apps, trio.open_nursery() as nursery:
        auths = [TokenAuth(app.store, Signer(b"s" * 64), app.clock) for app in apps]
        for app, auth in zip(apps, auths, strict=True):
            app.auth.authenticate = auth.authenticate
            nursery.start_soon(Revocation(app.store, app.clock, app.sessions, auth).run)
        users = {
            name: await apps[0].store.read(lambda unit, name=name: unit.user_named(name)) for name in apps[0].users
        }
        issued = {
            name: await auths[0].issue(user, "user", timedelta(days=1))
            for name, user in users.items()
            if user is not None
        }
        clients = {(name, app.owner): await app.client(token) for name, (token, _) in issued.items() for app in apps}
        await trio.sleep(1)
        await apps[0].store.write(lambda unit: unit.update_user(users["alice"].id, active=False))
        await apps[0].store.write(lambda unit: unit.revoke_token(issued["bob"][1].jti, apps[0].clock.now()))
        await trio.sleep(3)
        assert {name for (name, _), client in clients.items() if client.connected} == {"carol"}
        for (name, _), client in clients.items():
            assert bool(client.events("auth:error")) == (name != "carol")
        nursery.cancel_scope.cancel()


async def test_whoever_is_shut_out_by_a_call_is_put_out_in_the_same_step(autojump_clock: Any) -> None:
    async with deployment(1, ScriptedExecutor()) as (app,):
        auth = TokenAuth(app.store, Signer(b"s" * 64), app.clock)
        app.auth.authenticate = auth.authenticate
        user = await app.store.read(lambda unit: unit.user_named("alice"))
        assert user is not None
        client = await app.client((await auth.issue(user, "user", timedelta(days=1)))[0])
        await app.store.write(lambda unit: unit.update_user(user.id, active=False))
        Revocation(app.store, app.clock, app.sessions, auth).shut_out(user.id)
        assert not list(app.sessions.of_user(user.id))
        await trio.testing.wait_all_tasks_blocked()
        assert client.events("auth:error")
        assert not client.connected
