"""Which agent serves a shell type, from configuration."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wegent.core.errors import RunFailed

COMMAND = {"Command": "wegent.runner.command:run"}
"""What there is without any configuration: shell type to `module:function`."""


def unknown_shell(executor: str, shell_type: str, known: Collection[str]) -> RunFailed:
    """The error for a shell type that an executor has no agent for: what there is, and how one is added."""
    there = ", ".join(sorted(known)) or "none"
    return RunFailed(
        f"The executor `{executor}` has no agent for the shell type {shell_type!r}, only for: {there}. "
        f'Add one to the server\'s configuration: [{executor}.agents] {shell_type} = "module:function".'
    )


def with_defaults(agents: Mapping[str, str]) -> dict[str, str]:
    """The agents of a configuration beside the built-in ones; an empty reference takes one away."""
    return {shell: reference for shell, reference in {**COMMAND, **agents}.items() if reference}
