"""A folder for each task's files, with its repository in it where it has one."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import trio
from attrs import frozen

from wegent.core.errors import RunFailed
from wegent.core.text import clean
from wegent.executors.child import Limits, open_child
from wegent.protocol.jobs import Job
from wegent.runner.environment import plain

_UNFINISHED = ".clone-"
_ERROR_BYTES = 4_096
_ERROR_LENGTH = 500
_GIT_ENVIRONMENT = {
    "GIT_ASKPASS": "true",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_USER = re.compile(r"(?<=://)[^/@\s]+@")


@frozen
class GitOptions:
    """`protocols` that a task's `git_url` may have; `timeout` of a clone in seconds."""

    protocols: tuple[str, ...] = ("https", "http", "ssh", "git")
    timeout: float = 600.0


class Workspaces:
    """Folders `{root}/{task_id}`. A clone appears in its task's folder when it is whole, or not at all."""

    def __init__(self, root: Path, git: GitOptions | None = None) -> None:
        self.root = root
        self._git = git or GitOptions()
        self._threads = trio.CapacityLimiter(4)
        self._cloning: set[Path] = set()

    async def prepare(self, job: Job) -> Path:
        """The task's folder. Where the task has a `git_url` and the folder is still empty, it is cloned into it.

        Raises:
            RunFailed: git said no, took too long, or its address is of a kind that is not allowed.
        """
        folder = self.root / str(job.task_id)
        empty = await trio.to_thread.run_sync(_make, folder, limiter=self._threads)
        if empty and job.workspace.git_url:
            await self._clone(job.workspace.git_url, job.workspace.branch_name, folder)
        return folder

    async def reclaim(self) -> None:
        """Remove the clones that an earlier life did not finish."""
        await trio.to_thread.run_sync(_remove_unfinished, self.root, set(self._cloning), limiter=self._threads)

    async def _clone(self, url: str, branch: str | None, folder: Path) -> None:
        self._check(url)
        unfinished = Path(await trio.to_thread.run_sync(_temporary, self.root, limiter=self._threads))
        self._cloning.add(unfinished)
        try:
            branches = [f"--branch={branch}"] if branch else []
            no_helpers = ["-c", "credential.helper="]  # a user's address must not open what the server's user may read
            await self._run_git(["git", *no_helpers, "clone", "--quiet", *branches, "--", url, str(unfinished)], url)
            await trio.to_thread.run_sync(unfinished.replace, folder, limiter=self._threads)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_remove, unfinished, limiter=self._threads)
            self._cloning.discard(unfinished)

    def _check(self, url: str) -> None:
        scheme = urlsplit(url).scheme if "://" in url else "ssh" if re.match(r"[\w.-]+@[\w.-]+:(?!:)", url) else ""
        if scheme not in self._git.protocols:
            message = f"The task's `git_url` must begin with one of {', '.join(self._git.protocols)} and `://`."
            raise RunFailed(message)

    async def _run_git(self, command: Sequence[str], url: str) -> None:
        allowed = {"GIT_ALLOW_PROTOCOL": ":".join(self._git.protocols)}
        with trio.move_on_after(self._git.timeout):
            async with open_child(
                command,
                folder=self.root,
                environment={**plain(), **_GIT_ENVIRONMENT, **allowed},
                limits=Limits(memory=None, cpu=None, file=None),
            ) as child:
                await child.stdin.aclose()
                said = await _tail(child.stderr)
                how = await child.ended()
            if how.code != 0:
                message = f"The repository can't be cloned. git said: {_without_secrets(said, url)}"
                raise RunFailed(message)
            return
        raise RunFailed(f"The repository was not cloned within {self._git.timeout:g} seconds.", type="timeout")


async def _tail(stream: trio.abc.ReceiveStream) -> str:
    tail = b""
    async for data in stream:
        tail = (tail + data)[-_ERROR_BYTES:]
    return tail.decode(errors="replace")


def _without_secrets(said: str, url: str) -> str:
    """What git said, without the names, passwords and tokens that its address may hold."""
    shown = _USER.sub("", url.partition("?")[0])
    said = _USER.sub("", said.replace(url, shown)).replace(url.partition("?")[2] or "\0", "…")
    return clean(said.strip())[-_ERROR_LENGTH:] or "nothing."


def _make(folder: Path) -> bool:
    """Make the folder; whether there is nothing in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return not any(folder.iterdir())


def _temporary(root: Path) -> str:
    return tempfile.mkdtemp(prefix=_UNFINISHED, dir=root)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _remove_unfinished(root: Path, in_use: set[Path]) -> None:
    for folder in root.glob(f"{_UNFINISHED}*"):
        if folder not in in_use:
            _remove(folder)
