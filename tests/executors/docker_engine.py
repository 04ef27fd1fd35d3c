"""A Docker engine of the tests' own, on a socket and with data in a folder of its own, and an image made from this
machine's files: there is no registry to fetch one from.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

IMAGE = "wegent-runner"
_PATIENCE = 30.0
_LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "site-packages",
             "dist-packages", "distutils", "unittest", "multiprocessing"}  # fmt: skip
_SITE = "opt/site"
_PACKAGES = ("attr", "attrs", "idna", "outcome", "sniffio", "sortedcontainers", "trio")
_OURS = ("__init__.py", "core", "runner", "testing/__init__.py", "testing/contract_agent.py")
"""No more of this package than an image needs by its documentation, and the tests' agent."""


class Missing(Exception):
    """There can be no engine here; the reason to skip."""


class DockerDaemon:
    """An engine that runs. What it is asked for is asked over its API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers; also again, after `stop`. If it is up it is nothing."""
        if self._process is not None:
            return
        command = [
            program("dockerd"),
            f"--host=unix://{self.socket}",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
            f"--pidfile={self.folder}/pid",
            "--iptables=false",
            "--bridge=none",
            "--ip-forward=false",
            "--exec-opt=native.cgroupdriver=cgroupfs",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            said = (self.folder / "log").read_text(errors="replace")
            raise RuntimeError(f"dockerd ended: {said[-2000:]}")
        with suppress(OSError, http.client.HTTPException):
            self.ask("GET", "/_ping")
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Away: its socket refuses. Killed, it leaves containers running, until it is started again."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            process.wait(_PATIENCE)
            # Killed with it, its containerd may still look alive to the next, which would wait for it.
            (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def pause(self) -> None:
        """Hung: what connects waits, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """All of it, and what it left."""
        if self._process is not None:
            for container in self.containers():
                if container["State"] == "running":
                    self.kill(container["Id"])
        self.stop(signal.SIGTERM)
        for pid in self._shims():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed(mounts):
            if mount.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", mount], check=True)

    def _shims(self) -> Iterator[int]:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{self.folder}/exec/".encode() in (folder / "cmdline").read_bytes():
                    yield int(folder.name)

    def ask(self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        """What the engine answers, as JSON where it is. Raises RuntimeError where it refuses."""
        with closing(_Connection(self.socket)) as connection:
            connection.request(method, f"{path}?{urlencode(query or {}, doseq=True)}", body)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status >= 400:
            message = f"{method} {path}: {answer.status} {said.decode(errors='replace')}"
            raise RuntimeError(message)
        return json.loads(said) if answer.headers.get_content_type() == "application/json" and said else None

    def containers(self, label: str = "") -> list[dict[str, Any]]:
        """All, or those with a label `NAME=value`, whatever their state."""
        filters = json.dumps({"label": [label]} if label else {})
        found: list[dict[str, Any]] = self.ask("GET", "/containers/json", {"all": 1, "filters": filters})
        return found

    def of_task(self, task_id: int) -> list[dict[str, Any]]:
        return self.containers(f"wegent.task_id={task_id}")

    def kill(self, container: str) -> None:
        self.ask("POST", f"/containers/{container}/kill")

    def remove(self, container: str) -> None:
        self.ask("DELETE", f"/containers/{container}", {"force": 1})

    def make_image(self) -> None:
        """The image `IMAGE`: this Python with `wegent.runner` and the tests' agents, and busybox."""
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                _pack(tar)
            file.seek(0)
            changes = [f"ENV PYTHONPATH=/{_SITE}", "ENV PATH=/usr/local/bin:/bin"]
            query = {"fromSrc": "-", "repo": IMAGE, "tag": "latest", "changes": changes}
            self.ask("POST", "/images/create", query, file)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@contextmanager
def running() -> Iterator[DockerDaemon]:
    """An engine with the image, for as long as the block lasts.

    Raises:
        Missing: there can be none on this machine.
    """
    if os.getuid() != 0:
        raise Missing("a Docker engine of the tests' own needs root")
    program("dockerd")
    program("busybox")
    folder = Path(tempfile.mkdtemp(prefix="wegent-docker-"))  # the name of a socket may not be long
    daemon = DockerDaemon(folder)
    try:
        (folder / "data").mkdir()
        # in memory: on a disk unpacking the image and removing it take longer than all else
        memory = ["mount", "-t", "tmpfs", "-o", "size=1g", "wegent-docker", folder / "data"]
        if subprocess.run(memory, capture_output=True).returncode != 0:
            raise Missing("a Docker engine of the tests' own needs the right to mount")
        daemon.start()
        daemon.make_image()
        yield daemon
    finally:
        daemon.end()
        shutil.rmtree(folder, ignore_errors=True)


def serve() -> Iterator[DockerDaemon]:
    """For a fixture."""
    try:
        with running() as daemon:
            yield daemon
    except Missing as missing:
        pytest.skip(str(missing))


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the engine did not answer in time")
        time.sleep(0.02)


def _pack(tar: tarfile.TarFile) -> None:
    base, python = Path(sys.base_prefix), Path(sys.executable).resolve()
    library = base / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (python, library):
        tar.add(path, filter=_for_everybody)
    for needed in sorted(_libraries([python, *library.glob("lib-dynload/*.so")])):
        _add_file(tar, needed)
    import attrs
    import trio

    for name in _PACKAGES:
        home = Path(attrs.__file__ if name.startswith("attr") else trio.__file__).parent.parent
        tar.add(home / name, f"{_SITE}/{name}", filter=_for_everybody)
    for name in _OURS:
        tar.add(Path(__file__).parents[2] / "wegent" / name, f"{_SITE}/wegent/{name}", filter=_for_everybody)
    busybox = Path(program("busybox"))
    _add_file(tar, busybox, "bin/busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout
    for name in set(listed.split()) - {"busybox"}:
        _add(tar, f"bin/{name}", tarfile.SYMTYPE, "busybox")
    _add(tar, "usr/local/bin/python3", tarfile.SYMTYPE, str(python))
    for name in ("dev", "etc", "proc", "sys", "tmp", "workspace"):
        _add(tar, name, tarfile.DIRTYPE)


def _for_everybody(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Readable by every user of the image, and no more than is needed."""
    path = Path(info.name)
    if path.name in _LEFT_OUT or path.name.startswith(("config-", "_test", "_tkinter", "_decimal", "_sqlite3")):
        return None
    if ".opt-" in path.name or path.suffix == ".a":
        return None
    info.uid = info.gid = 0
    info.mode |= 0o555 if info.isdir() or info.mode & 0o100 else 0o444
    return info


def _libraries(files: list[Path]) -> set[Path]:
    """What the loader will look for, under the names by which it looks."""
    found = set()
    for file in files:
        if not file.name.startswith(("_test", "_tkinter", "_decimal", "_sqlite3")):
            said = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
            found.update(Path(word) for word in said.split() if word.startswith("/"))
    return found


def _add_file(tar: tarfile.TarFile, path: Path, name: str = "") -> None:
    info = tar.gettarinfo(path.resolve(), name or str(path))
    with path.resolve().open("rb") as file:
        tar.addfile(_for_everybody(info), file)


def _add(tar: tarfile.TarFile, name: str, kind: bytes, target: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o1777 if name == "tmp" else 0o755
    tar.addfile(info)
