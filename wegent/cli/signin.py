"""How a command comes by a token of a server: given, kept from the last time, or by logging in."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wegent.cli.credentials import Kept, TokenFile
from wegent.client.rest import Rest, Team, open_rest
from wegent.core.errors import InvalidPayload, NotAuthenticated, WegentError

TRIES = 3
SERVER = "http://127.0.0.1:8000"


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which server, and who one is there."""
    server = os.environ.get("WEGENT_SERVER", SERVER)
    parser.add_argument("--server", default=server, metavar="URL", help=f"the server's address ({server})")
    parser.add_argument("--user", metavar="NAME", help="who you are there")
    parser.add_argument("--password", help="your password; better in the environment as WEGENT_PASSWORD")
    parser.add_argument("--token", help="a token, instead of logging in")
    parser.add_argument("--no-save", action="store_true", help="keep no token for the next time")


class SignIn:
    """Logs in to one server, asking in the terminal where it may."""

    def __init__(
        self,
        rest: Rest,
        server: str,
        *,
        user: str | None,
        password: str | None,
        kept: TokenFile | None,
        may_ask: bool,
    ) -> None:
        self._rest = rest
        self._server = server.rstrip("/")
        self._user = user
        self._password = password
        self._kept = kept
        self._may_ask = may_ask

    @classmethod
    def of(cls, args: argparse.Namespace, rest: Rest) -> SignIn:
        """As the options say (`add_server_options`)."""
        return cls(
            rest,
            args.server,
            user=args.user,
            password=args.password or os.environ.get("WEGENT_PASSWORD"),
            kept=None if args.no_save else TokenFile(),
            may_ask=sys.stdin.isatty() and sys.stderr.isatty(),
        )

    async def teams(self, token: str | None, *, anew: bool) -> list[Team]:
        """Get in, and return whom one may talk to.

        Args:
            token: one that was given; no other is tried.
            anew: log in even where a token was kept.

        Raises:
            NotAuthenticated: no token, or a wrong name or password.
            Unreachable: there is no server.
        """
        if token is not None:
            self._rest.token = token
            return await self._rest.teams()
        if not anew and await self._use_kept():
            try:
                return await self._rest.teams()
            except NotAuthenticated:
                self._forget()
                sys.stderr.write("wegent: your login has expired\n")
        await self._log_in()
        return await self._rest.teams()

    async def renew(self, error: WegentError) -> str:
        """Another token in the middle of a session, if the password is known; else the error."""
        self._forget()
        if self._user is None or self._password is None:
            message = f"{error.sentence}; start `wegent chat` again to log in"
            raise NotAuthenticated(message) from error
        return await self._with_password(self._user, self._password)

    async def _use_kept(self) -> bool:
        found = self._kept.find(self._server, self._user) if self._kept is not None else None
        if found is not None:
            self._rest.token, self._user = found.token, found.user_name
        return found is not None

    async def _log_in(self) -> None:
        if self._user is not None and self._password is not None:
            await self._with_password(self._user, self._password)
            return
        if not self._may_ask and self._user is not None:
            message = f"the password of {self._user} is missing: give it in WEGENT_PASSWORD, or by --password"
            raise NotAuthenticated(message)
        if not self._may_ask:
            message = "log in with --user and --password (or WEGENT_PASSWORD), or give a --token"
            raise NotAuthenticated(message)
        user = self._user or self._ask_name()
        for tries_left in reversed(range(TRIES)):
            try:
                await self._with_password(user, getpass.getpass(f"Password of {user}: "))
                return
            except EOFError:
                message = "no password was given"
                raise NotAuthenticated(message) from None
            except NotAuthenticated as error:
                if not tries_left:
                    raise
                sys.stderr.write(f"wegent: {error.sentence}\n")

    def _ask_name(self) -> str:
        sys.stderr.write(f"Log in to {self._server}\n")
        try:
            name = input("User name: ").strip()
        except EOFError:
            name = ""
        if not name:
            message = "no user name was given"
            raise InvalidPayload(message)
        return name

    async def _with_password(self, user: str, password: str) -> str:
        login = await self._rest.login(user, password)
        self._user, self._password = login.user_name, password
        if self._kept is not None:
            self._kept.keep(self._server, Kept(login.user_name, login.token))
        return login.token

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept.drop(self._server)


@asynccontextmanager
async def signed_in(args: argparse.Namespace) -> AsyncIterator[Rest]:
    """Calls to the server that the options name, by whom they name."""
    async with open_rest(args.server) as rest:
        await SignIn.of(args, rest).teams(args.token, anew=args.password is not None)
        yield rest
