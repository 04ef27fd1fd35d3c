"""A conversation in a terminal, or one message from a script: sends, follows the answer, cancels."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable

import trio
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from wegent.cli.errors import FAILED, INTERRUPTED
from wegent.cli.live import FRAME_S, WAITS_S, LiveAnswer, how_it_ended, rendered
from wegent.cli.markdown_feed import MarkdownFeed, clean
from wegent.cli.plain import PlainAnswer
from wegent.client.errors import ConnectionLost
from wegent.client.message import Message
from wegent.client.rest import Team
from wegent.client.session import Session
from wegent.client.streams import TaskStream, open_task
from wegent.core.errors import NotFound, WegentError

SHOWN_HISTORY = 10
MARK = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
PROMPT = f"\001\033[1;36m\002{MARK}\001\033[0m\002 "
HELP = (
    "/new begins another task, /retry tries a failed answer again, /quit or Ctrl-D leaves, "
    "a \\ at the end of a line continues it"
)


class Conversation:
    """Talks to one team. Ctrl-C cancels the answer that is being written; without one, or once more, it leaves."""

    def __init__(self, session: Session, server: str, team: Team, *, plain: bool, device_id: str | None = None) -> None:
        """`device_id`: where new tasks are done."""
        self._session = session
        self._server = server
        self._team = team
        self._console = Console(highlight=False)
        self._plain = plain
        self._options = {} if device_id is None else {"device_id": device_id}
        self._stream: TaskStream | None = None
        self._running: int | None = None
        self._cancelled = False
        self._nursery: trio.Nursery | None = None
        self._left = False

    async def say(self, task_id: int | None, message: str) -> int:
        """Send one message and show its answer; the exit code."""

        async def once() -> int:
            async with open_task(self._session, task_id) as stream:
                self._stream = stream
                if task_id is not None:
                    await self._joined(stream)
                code = await self._send(stream, message)
                if not self._plain:
                    self._note(f"task {stream.task.task_id} · go on with --task {stream.task.task_id}")
                return code

        return await self._interruptible(once)

    async def talk(self, task_id: int | None) -> int:
        """Ask for messages and show answers until the user leaves; the exit code."""

        async def on_and_on() -> int:
            self._console.print(
                Rule(Text(f"{clean(self._team.title)} · {clean(self._server)}", style="dim"), style="dim")
            )
            self._note(HELP)
            chosen: int | None = task_id
            while await self._one_task(chosen):
                chosen = None
            return 0

        return await self._interruptible(on_and_on)

    async def _interruptible(self, work: Callable[[], object]) -> int:
        """Run until done, or until the user leaves."""
        code = INTERRUPTED
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._watch_interrupts)
            code = await work()  # type: ignore[misc]
            nursery.cancel_scope.cancel()
        return INTERRUPTED if self._left else code

    async def _watch_interrupts(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._interrupt()

    def _interrupt(self) -> None:
        assert self._nursery is not None
        if self._running is not None and not self._cancelled:
            self._cancelled = True
            self._nursery.start_soon(self._cancel, self._running)
        else:
            self._left = True
            self._nursery.cancel_scope.cancel()

    async def _cancel(self, subtask_id: int) -> None:
        assert self._stream is not None
        try:
            await self._stream.cancel(subtask_id)
        except WegentError:
            # It has ended meanwhile, or the connection is gone: what the stream says next shows which.
            self._cancelled = False

    # a task

    async def _one_task(self, task_id: int | None) -> bool:
        """Until the user leaves (False), or wants a new one (True)."""
        async with open_task(self._session, task_id) as stream:
            self._stream = stream
            if task_id is not None:
                await self._joined(stream)
                self._show_history(stream)
            while True:
                await self._follow_what_runs(stream)
                said = await self._ask()
                if said is None or said in ("/quit", "/exit"):
                    return False
                if said == "/new":
                    self._tell("a new task begins with your next message")
                    return True
                if said == "/retry":
                    await self._try(self._retry, stream)
                elif said:
                    await self._try(self._send, stream, said)

    async def _try(self, do: Callable[..., Awaitable[object]], *args: object) -> None:
        """An error of one message is told, and the conversation goes on; one of the session ends it."""
        try:
            await do(*args)
        except WegentError as error:
            if self._session.state == "closed":
                raise
            self._tell(f"! {error.sentence}", style="red")

    async def _joined(self, stream: TaskStream) -> None:
        async for _ in stream:
            if stream.task.revision is not None:
                return

    def _show_history(self, stream: TaskStream) -> None:
        rows = [message for message in stream.task.ordered() if message.phase != "streaming"]
        if len(rows) > SHOWN_HISTORY:
            self._note(f"{len(rows) - SHOWN_HISTORY} earlier messages")
        for message in rows[-SHOWN_HISTORY:]:
            if message.role == "USER":
                self._console.print(Text(f"{MARK} {clean(message.text)}\n", style="bold"))
                continue
            feed = MarkdownFeed()
            for piece in [*feed.feed(message.text), *feed.finish()]:
                self._console.print(rendered(piece))
            if message.phase == "error":
                self._console.print(Text(how_it_ended(message), style="red"))

    async def _follow_what_runs(self, stream: TaskStream) -> None:
        if stream.view is not None and (active := stream.view.active) is not None:
            await self._follow(stream, active.id)

    async def _retry(self, stream: TaskStream) -> None:
        """Have the last answer made again."""
        answers = [message for message in stream.view.ordered() if message.role == "ASSISTANT"] if stream.view else []
        if not answers or answers[-1].phase != "error":
            self._tell("the last answer neither failed nor was stopped")
            return
        await stream.retry(answers[-1].id)
        await self._follow(stream, answers[-1].id)

    async def _send(self, stream: TaskStream, said: str) -> int:
        ack = await stream.send(self._team.id, said, **(self._options if stream.view is None else {}))
        answer = ack.get("assistant_subtask_id")
        if not isinstance(answer, int):
            self._tell("sent; nobody is asked to answer it")
            return 0
        message = await self._follow(stream, answer)
        if message.status == "COMPLETED":
            return 0
        return INTERRUPTED if self._cancelled else FAILED

    # an answer

    async def _follow(self, stream: TaskStream, subtask_id: int) -> Message:
        """Show an answer until it has ended and all of it is here."""
        self._running, self._cancelled = subtask_id, False
        try:
            if self._plain:
                return await self._follow_plain(stream, subtask_id)
            with LiveAnswer(self._console, self._team.title) as answer:
                while not _is_whole(message := stream.task.messages.get(subtask_id)):
                    started = trio.current_time()
                    answer.show(message, self._trouble())
                    # A terminal that is slow to draw gets fewer frames, so that most of the time is left for reading.
                    await trio.sleep(max(FRAME_S, 2 * (trio.current_time() - started)))
                    with trio.move_on_after(FRAME_S):
                        await _more(stream)
                    _still_there(stream, subtask_id, known=message is not None)
                assert message is not None
                answer.finish(message)
                return message
        finally:
            self._running = None

    async def _follow_plain(self, stream: TaskStream, subtask_id: int) -> Message:
        answer, patient_until = PlainAnswer(), trio.current_time() + WAITS_S
        while not _is_whole(message := stream.task.messages.get(subtask_id)):
            if message is not None:
                await answer.show(message)
            waits = message is not None and message.status == "PENDING"
            with trio.move_on_at(patient_until if waits else float("inf")) as patience:
                await _more(stream)
            if patience.cancelled_caught:
                patient_until = float("inf")
                self._tell("nobody has begun to answer yet; the message waits in the queue")
            _still_there(stream, subtask_id, known=message is not None)
        assert message is not None
        await answer.finish(message)
        if ending := how_it_ended(message):
            self._tell(ending)
        return message

    def _trouble(self) -> str | None:
        return None if self._session.is_ready else self._session.trouble or "the connection was lost"

    # the terminal

    async def _ask(self) -> str | None:
        """The next message; None at the end of the input."""
        lines: list[str] = []
        while True:
            prompt = PROMPT if not lines else "… "
            line = await trio.to_thread.run_sync(_read_line, prompt, abandon_on_cancel=True)
            if line is None:
                return None
            if not line.endswith("\\"):
                return "\n".join([*lines, line]).strip()
            lines.append(line[:-1])

    def _note(self, text: str) -> None:
        """For who sits at a terminal."""
        if not self._plain:
            self._console.print(Text(text, style="dim"))

    def _tell(self, text: str, style: str = "dim") -> None:
        """For everybody; what is plain keeps its output for the answers."""
        if self._plain:
            sys.stderr.write(f"wegent: {clean(text).removeprefix('! ')}\n")
        else:
            self._console.print(Text(clean(text), style=style))


def _read_line(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None


def _is_whole(message: Message | None) -> bool:
    return message is not None and message.has_ended and not message.truncated


def _still_there(stream: TaskStream, subtask_id: int, *, known: bool) -> None:
    if known and subtask_id not in stream.task.messages:
        message = "the message was removed"
        raise NotFound(message)


async def _more(stream: TaskStream) -> None:
    try:
        await anext(stream)
    except StopAsyncIteration:
        message = "the connection was lost"
        raise ConnectionLost(message) from None
