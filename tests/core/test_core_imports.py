"""The kernel imports the standard library, trio and attrs; what goes over the wire, the standard library and attrs."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "wegent"


def imports(path):
    """Top-level names that a module imports, with what it takes from this package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("core", {"trio", "attrs", "attr", "wegent.core"}), ("protocol", {"attrs", "attr", "wegent.protocol"})],
)
def test_a_floor_imports_only_what_it_may(folder, allowed):
    strange = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == each or name.startswith(each + ".") for each in allowed)
    ]
    assert not strange


def test_the_application_knows_no_adapter():
    adapters = ("wegent.transports", "wegent.storage", "wegent.fanout", "wegent.executors", "wegent.engines")
    strange = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / "server").glob("*.py"))
        for name in imports(path)
        if name.startswith(adapters)
    ]
    assert not strange
