"""`wegent chat`: talk to a team from a terminal or a script."""

from __future__ import annotations

import argparse
import importlib
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import trio

from wegent.cli.commands import Subparsers
from wegent.cli.conversation import Conversation
from wegent.cli.signin import SignIn, add_server_options
from wegent.client.rest import Rest, Team, open_rest
from wegent.client.session import open_session
from wegent.core.errors import InvalidPayload, NotFound
from wegent.protocol.limits import MAX_PAYLOAD

EPILOG = """\
Without MESSAGE it asks for messages in the terminal; with one, or with text on a pipe, it shows the answer and ends:
0 the answer is complete, 1 it failed, 130 it was cancelled. Into a pipe or file goes the plain text.
Ctrl-C cancels the answer that is being written, the next one leaves."""


def add_parser(subparsers: Subparsers) -> None:
    """The command's options."""
    parser = subparsers.add_parser(
        "chat",
        help="talk to a team in the terminal",
        description="Talk to a team in the terminal.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server_options(parser)
    parser.add_argument("--team", metavar="NAME", help="whom to talk to (the first team)")
    parser.add_argument("--task", type=_task_id, metavar="ID", help="go on with this task")
    parser.add_argument("--device", metavar="ID", help="have a new task's answers made on this device of yours")
    parser.add_argument("--plain", action="store_true", help="plain text also in a terminal")
    parser.add_argument("message", nargs="*", metavar="MESSAGE", help="what to say; - reads it from stdin")


def run(args: argparse.Namespace) -> int:
    """Talk; 0, or how the answer ended."""
    if args.device is not None and args.task is not None:
        sentence = (
            "--device is for a new task; one that there is goes on where it began, so leave out --device or --task"
        )
        raise InvalidPayload(sentence)
    message = _message(args)
    with _terminal_restored():
        return trio.run(partial(_run, args, message))


def _task_id(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**53:
        raise argparse.ArgumentTypeError(f"{text!r} is no task: it is a number, like 12")
    return int(text)


def _message(args: argparse.Namespace) -> str | None:
    """What to say, from the arguments or a pipe; None: ask for it."""
    said = " ".join(args.message)
    if said and said != "-":
        return said
    if not said and sys.stdin.isatty():
        return None
    piped = sys.stdin.buffer.read(MAX_PAYLOAD + 1).decode("utf-8", "replace").strip()
    if not piped:
        message = "there is no message: give one, or pipe it in"
        raise InvalidPayload(message)
    return piped


@contextmanager
def _terminal_restored() -> Iterator[None]:
    """Leave the terminal as it was: who is interrupted while asking for a line can't tidy up."""
    try:
        before = termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, before)


async def _run(args: argparse.Namespace, message: str | None) -> int:
    async with open_rest(args.server) as rest:
        sign_in = SignIn.of(args, rest)
        teams = await sign_in.teams(args.token, anew=args.password is not None)
        team = await _choose(rest, teams, args)
        renew = None if args.token else sign_in.renew
        async with open_session(args.server, rest.token or "", renew=renew, first_patience=3) as session:
            plain = args.plain or not sys.stdout.isatty()
            conversation = Conversation(session, args.server, team, plain=plain, device_id=args.device)
            if message is not None:
                return await conversation.say(args.task, message)
            _enable_line_editing()
            return await conversation.talk(args.task)


async def _choose(rest: Rest, teams: list[Team], args: argparse.Namespace) -> Team:
    """The team of the task that is gone on with, the one that is named, or the first."""
    if args.task is not None:
        task = await rest.task(args.task)
        for team in teams:
            if team.id == task.get("team_id"):
                return team
        name = str(task.get("team_name") or "the team")
        return Team(int(task.get("team_id") or 0), name, name)
    if args.team is None and teams:
        return teams[0]
    if args.team is not None and (named := await rest.team(args.team)) is not None:
        return named
    for team in teams:
        if args.team is not None and args.team.casefold() in (team.name.casefold(), team.title.casefold()):
            return team
    names = ", ".join(team.name for team in teams) or "none"
    wanted = f"there is no team {args.team!r}" if args.team else "there is no team to talk to"
    sentence = f"{wanted}; you may talk to: {names}"
    raise NotFound(sentence)


def _enable_line_editing() -> None:
    """To import it is to have it in `input`; not every Python was built with it."""
    with suppress(ImportError):
        importlib.import_module("readline")
