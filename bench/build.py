"""Makes what a run needs, once: the C programs, the Python peer's environment, the Node peer's modules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
LOAD, MODEL, C_SERVER = CACHE / "bin/load", CACHE / "bin/model", CACHE / "bin/cserver"
PYTHON = CACHE / "venv/bin/python"
NODE_MODULES = CACHE / "node/node_modules"
REQUIREMENTS = HERE / "peers/python/requirements.txt"


def newer(target: Path, *sources: Path) -> bool:
    """Tell whether the target exists and is younger than all sources."""
    return target.exists() and all(target.stat().st_mtime >= s.stat().st_mtime for s in sources)


def compile_c(target: Path, *sources: Path) -> None:
    headers = [h for s in sources for h in s.parent.glob("*.h")]
    if newer(target, *sources, *headers):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", target, *sources], check=True)


def programs() -> None:
    """Compile the load generator, the model server and the C peer."""
    util = HERE / "load/util.c"
    compile_c(LOAD, *sorted((HERE / "load").glob("*.c")))
    compile_c(MODEL, HERE / "model/server.c", util)
    compile_c(C_SERVER, HERE / "peers/c/server.c", HERE / "peers/c/sha1.c", util)


def python_peer() -> None:
    mark = CACHE / "venv/installed"
    if newer(mark, REQUIREMENTS):
        return
    subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
    mark.touch()


def node_peer() -> None:
    """Install the Node peer's packages; the SQLite driver is compiled here against the headers that came with node."""
    manifest, mark = HERE / "peers/node/package.json", CACHE / "node/installed"
    if newer(mark, manifest):
        return
    (CACHE / "node").mkdir(parents=True, exist_ok=True)
    shutil.copy(manifest, CACHE / "node/package.json")
    node = shutil.which("node")
    if node is None:
        raise RuntimeError("node is missing: install Node.js 20 or newer with npm")
    environment = {**os.environ, "npm_config_nodedir": str(Path(node).resolve().parent.parent)}
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=CACHE / "node", env=environment, check=True)
    mark.touch()


def everything() -> None:
    programs()
    python_peer()
    node_peer()


def versions() -> dict[str, str]:
    """Tell what was measured: of the peers, their packages; of the machine, kernel and processor."""
    freeze = subprocess.run([PYTHON, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    found = dict(line.split("==") for line in freeze.split() if "==" in line)
    for name in ("socket.io", "better-sqlite3", "ws"):
        manifest = NODE_MODULES / name / "package.json"
        found[f"npm {name}"] = _field(manifest, "version")
    found["node"] = _first_line(["node", "--version"])
    found["gcc"] = _first_line(["gcc", "--version"])
    found["python"] = sys.version.split()[0]
    found["kernel"] = f"{os.uname().sysname} {os.uname().release} {os.uname().machine}"
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    found["processor"] = f"{len(cpu)} x {cpu[0].split(':', 1)[1].strip()}" if cpu else "unknown"
    return found


def _field(manifest: Path, name: str) -> str:
    return str(json.loads(manifest.read_text())[name]) if manifest.exists() else "missing"


def _first_line(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
