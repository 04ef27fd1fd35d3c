"""The page's modules, tried without a browser: the unit tests that lie beside this file, run by Node's own runner."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent / "unit"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run_node_tests(path: Path) -> subprocess.CompletedProcess[str]:
    """Run one file of tests; ROUNDS and SEED of the environment make the random ones longer, or another."""
    assert NODE is not None
    return subprocess.run(
        [NODE, "--test", str(path)], capture_output=True, text=True, timeout=110, env=os.environ.copy()
    )


@pytest.mark.parametrize("path", sorted(UNIT.glob("*.test.mjs")), ids=lambda path: path.name.split(".")[0])
def test_unit_tests_of_the_page_pass(path: Path) -> None:
    done = run_node_tests(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0" in done.stdout
    assert "# pass 0" not in done.stdout
