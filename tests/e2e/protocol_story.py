"""Everything that the protocol has, done once against one server by stock clients."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e import protocol_chapters as chapters
from tests.e2e import protocol_recovery as recovery
from tests.e2e.protocol_scene import Story
from tests.e2e.recorder import Recorder
from tests.e2e.serving import Server


def tell(server: Server, folder: Path) -> set[str]:
    """All of it, and the rows that were seen."""
    with Recorder() as seen:
        _tell(Story(server, seen), folder)
        return seen.rows


def _tell(story: Story, folder: Path) -> None:
    """What takes long of itself is done beside the rest."""
    chapters.people(story)
    chapters.kinds(story)
    with ThreadPoolExecutor() as pool, recovery.device_lost(story):
        others = [pool.submit(chapters.hosts, story), pool.submit(chapters.chat_shell, story, folder)]
        chapters.chats(story)
        chapters.tasks(story)
        chapters.corrections(story)
        chapters.files(story)
        chapters.executions(story)
        chapters.tokens(story)
        chapters.devices(story)
        chapters.responses(story)
        recovery.page_refresh(story)
        recovery.reconnect(story)
        recovery.return_to_a_tab(story)
        recovery.interrupted_stream(story)
        recovery.slow_reader(story)
        for other in others:
            other.result()
    recovery.server_killed(story)
