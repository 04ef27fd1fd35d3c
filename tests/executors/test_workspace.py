"""Folders of tasks, and the repositories that are cloned into them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio

from wegent.core.errors import RunFailed
from wegent.executors.workspace import GitOptions, Workspaces
from wegent.protocol.jobs import JobWorkspace
from wegent.testing.checkpoints import at_every_checkpoint
from wegent.testing.jobs import make_job


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> str:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-b", "main")
    (folder / "a.txt").write_text("on main")
    git(folder, "add", "a.txt")
    git(folder, "commit", "-m", "first")
    git(folder, "checkout", "-b", "side")
    (folder / "a.txt").write_text("on side")
    git(folder, "commit", "-am", "second")
    git(folder, "checkout", "main")
    return f"file://{folder}"


@pytest.fixture
def workspaces(tmp_path: Path) -> Workspaces:
    return Workspaces(tmp_path / "workspaces", GitOptions(protocols=("file", "http"), timeout=20))


def job(url=None, branch=None, task_id=7):
    return make_job(task_id=task_id, workspace=JobWorkspace(git_url=url, branch_name=branch)).spec


def names(workspaces: Workspaces) -> list[str]:
    return sorted(path.name for path in workspaces.root.iterdir())


async def test_a_task_has_a_folder_of_its_own_that_stays(workspaces):
    folder = await workspaces.prepare(job())
    (folder / "mine").touch()
    assert await workspaces.prepare(job()) == folder
    assert (folder / "mine").exists()
    assert await workspaces.prepare(job(task_id=8)) != folder
    assert folder.stat().st_mode & 0o077 == 0


async def test_a_repository_is_cloned_once_and_its_changes_stay(workspaces, repository):
    folder = await workspaces.prepare(job(repository))
    assert (folder / "a.txt").read_text() == "on main"
    (folder / "a.txt").write_text("changed")
    await workspaces.prepare(job(repository))
    assert (folder / "a.txt").read_text() == "changed"
    assert names(workspaces) == ["7"]


async def test_a_branch_can_be_asked_for(workspaces, repository):
    folder = await workspaces.prepare(job(repository, "side"))
    assert (folder / "a.txt").read_text() == "on side"


@pytest.mark.parametrize("branch", ["nonesuch", "--upload-pack=touch /tmp/x"])
async def test_a_branch_that_is_not_there_is_told_in_gits_words(workspaces, repository, branch):
    with pytest.raises(RunFailed, match=r"Remote branch .* not found"):
        await workspaces.prepare(job(repository, branch))
    assert names(workspaces) == ["7"]


async def test_what_git_says_holds_no_secret_of_the_address(workspaces):
    with pytest.raises(RunFailed, match="can't be cloned") as caught:
        await workspaces.prepare(job("http://ann:s3cret@127.0.0.1:9/x.git?token=t0ken"))
    assert "127.0.0.1" in caught.value.sentence
    assert "s3cret" not in caught.value.sentence
    assert "t0ken" not in caught.value.sentence


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch /tmp/x'", "/etc", "--upload-pack=x", "ssh://host/x", "me@host:x", "FILE:/etc", ""]
)
async def test_only_the_protocols_that_are_allowed_are_cloned_from(workspaces, url, tmp_path):
    if not url:
        assert await workspaces.prepare(job(url))
        return
    with pytest.raises(RunFailed, match="must begin with one of"):
        await workspaces.prepare(job(url))


async def test_an_address_in_the_way_of_ssh_counts_as_ssh(tmp_path):
    workspaces = Workspaces(tmp_path, GitOptions(timeout=0.01))
    with pytest.raises(RunFailed, match="within") as caught:
        await workspaces.prepare(job("git@127.0.0.1:x.git"))
    assert caught.value.type == "timeout"


async def test_cancelled_anywhere_a_clone_is_whole_or_not_there(workspaces, repository):
    count = 0

    async def attempt(cut):
        nonlocal count
        count += 1
        with trio.CancelScope() as scope, cut.at(scope.cancel):
            await workspaces.prepare(job(repository, task_id=count))
        folder = workspaces.root / str(count)
        assert names(workspaces) == sorted(path.name for path in workspaces.root.glob("[0-9]*"))
        assert not folder.exists() or {path.name for path in folder.iterdir()} in ({".git", "a.txt"}, set())

    assert await at_every_checkpoint(attempt) > 5


async def test_reclaiming_removes_what_an_earlier_life_left_unfinished(workspaces, repository):
    folder = await workspaces.prepare(job(repository))
    (workspaces.root / ".clone-abc" / "x").mkdir(parents=True)
    await workspaces.reclaim()
    assert names(workspaces) == ["7"]
    assert (folder / "a.txt").exists()
