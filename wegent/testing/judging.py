"""Compares what clients hold with the rows, and the rows with what the engine wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wegent.client.problems import ProblemKind
from wegent.core.text import clean
from wegent.server.records import Subtask
from wegent.testing.scripted import Written
from wegent.testing.world import Actor, Story, World


def judge_frames(world: World, actors: Sequence[Actor], when: str) -> None:
    """What the frames themselves show."""
    for actor in actors:
        for problem in actor.viewer.problems[actor.judged :]:
            # A run whose ending's commit was in doubt may end for its viewers after the task's next one.
            if problem.kind is not ProblemKind.EARLY_STATUS or not world.plan.store_away:
                world.story.complain(f"{when}: {actor.name}: {problem}")
        actor.judged = len(actor.viewer.problems)


def compare_rows(world: World) -> None:
    """The rows are what the engine wrote."""
    for row in world.answers():
        written = world.written(row)
        if _lost(world, row):
            if not written.content.startswith(row.content) or not written.thinking.startswith(row.thinking):
                world.story.complain(f"row {row.id} has what the engine did not write: {row} / {written}")
            continue
        if (row.content, row.thinking) != (written.content, written.thinking):
            world.story.complain(f"row {row.id} ({row.status}) is not what the engine wrote: {row} / {written}")
        _compare_blocks(world.story, f"row {row.id}", [value for value in row.values if "id" in value], written)


def _lost(world: World, row: Subtask) -> bool:
    """Whether the row's run was lost with its worker, or may have been: what it wrote last may not have got out."""
    return row.error_type == "worker_lost" or (world.plan.crashes > 0 and row.status == "CANCELLED")


def compare_clients(world: World, actors: Sequence[Actor], when: str) -> None:
    """Clients hold what is in the rows."""
    for actor in actors:
        held = {each["id"]: each for each in actor.viewer.holds()}
        for row in world.app.rows(world.task_id):
            where = f"{when}: {actor.name} holds of row {row.id}"
            text = row.prompt if row.role == "USER" else row.content
            got = held.get(row.id, {})
            if (got.get("status"), got.get("text"), got.get("attempt")) != (row.status, text, row.attempt):
                world.story.complain(f"{where} {got}, not {row.status} {text!r}")
            elif row.role == "ASSISTANT":
                if (got["thinking"] or "") != row.thinking:
                    world.story.complain(f"{where} thinking {got['thinking']!r}, not {row.thinking!r}")
                if not _lost(world, row):
                    _compare_blocks(world.story, where, got["blocks"], world.written(row))


def _compare_blocks(story: Story, where: str, blocks: Sequence[Mapping[str, Any]], written: Written) -> None:
    said = {
        key: {name: clean(text) for name, text in {**value, "at": ""}.items()} | {"at": written.places[key]}
        for key, value in written.blocks.items()
    }
    held = {value["id"]: {name: value.get(name) for name in said.get(value["id"], {})} for value in blocks}
    if said != held:
        story.complain(f"{where} blocks {held}, not {said}")
