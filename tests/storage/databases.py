"""Database servers of the tests' own: started on a free port, with data and socket in a folder of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PATIENCE = 60.0


class Missing(Exception):
    """The server's program is not installed; the reason to skip."""


class Database:
    """A running server. `url` and `fresh` give databases in it; the rest takes it away and brings it back."""

    scheme: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._names = 0
        self._process: subprocess.Popen[bytes] | None = None

    # of each kind

    def install(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def create(self, name: str) -> None:
        raise NotImplementedError

    def url(self, name: str) -> str:
        raise NotImplementedError

    def execute(self, statement: str, name: str) -> None:
        raise NotImplementedError

    # of all

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.scheme} ended: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")
        try:
            self.ping()
        except Exception:  # noqa: BLE001, RUF100 - whatever the driver says while it starts
            return False
        return True

    def ping(self) -> None:
        raise NotImplementedError

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Away: what connects is refused."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(_PATIENCE)

    def pause(self) -> None:
        """Hung: what connects is accepted by the system, and nothing answers."""
        pids = self._family()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        # A thread that runs on another core may answer once more before it stops.
        wait_until(lambda: all(state == "T" for pid in pids for state in states(pid)))

    def resume(self) -> None:
        for pid in self._family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _family(self) -> list[int]:
        pids = [self.pid]
        for each in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = each.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.pid:
                pids.append(int(each.parent.name))
        return pids

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        self._names += 1
        name = f"wegent_{self._names}"
        self.create(name)
        return self.url(name)


class MariaDb(Database):
    scheme = "mysql"

    def install(self) -> None:
        program("mariadbd", "mysqld")
        own(self.folder, "mysql")
        run(
            *as_user("mysql"),
            program("mariadb-install-db", "mysql_install_db"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def command(self) -> list[str]:
        return [
            *as_user("mysql"),
            program("mariadbd", "mysqld"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--socket={self.folder}/socket",
            f"--pid-file={self.folder}/pid",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=64M",
        ]

    def ping(self) -> None:
        self.execute("SELECT 1", "mysql")

    def create(self, name: str) -> None:
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4", "mysql")

    def execute(self, statement: str, name: str) -> None:
        import pymysql

        with pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=name, connect_timeout=5, autocommit=True
        ) as conn:
            conn.cursor().execute(statement)

    def url(self, name: str) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{name}"


class PostgreSql(Database):
    scheme = "postgresql"

    def install(self) -> None:
        own(self.folder, "postgres")
        run(
            *as_user("postgres"),
            postgres_program("initdb"),
            f"--pgdata={self.folder}/data",
            "--username=wegent",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 100,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [*as_user("postgres"), postgres_program("postgres"), "-D", f"{self.folder}/data", *options]

    def ping(self) -> None:
        self.execute("SELECT 1", "postgres")

    def create(self, name: str) -> None:
        self.execute(f"CREATE DATABASE {name}", "postgres")

    def execute(self, statement: str, name: str) -> None:
        import psycopg

        with psycopg.connect(
            f"host=127.0.0.1 port={self.port} user=wegent dbname={name}", connect_timeout=5, autocommit=True
        ) as conn:
            conn.execute(statement)  # type: ignore[arg-type]

    def url(self, name: str) -> str:
        return f"postgresql://wegent@127.0.0.1:{self.port}/{name}"

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        # The parent alone would leave children that hold the memory which the next start needs.
        children = self._family()[1:] if self._process is not None else []
        if how is signal.SIGKILL:
            how = signal.SIGQUIT
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        super().stop(how)


@contextmanager
def running(kind: type[Database]) -> Iterator[Database]:
    """A server for as long as the block lasts. Raises `Missing` if there is none on this machine."""
    # Not in pytest's folder: every run of pytest closes that to other users than its own.
    folder = Path(tempfile.mkdtemp(prefix=f"wegent-{kind.scheme}-"))
    database = kind(folder)
    try:
        database.install()
        database.start()
        yield database
    finally:
        database.stop()
        shutil.rmtree(folder, ignore_errors=True)


def program(*names: str) -> str:
    for name in names:
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if found is not None:
            return found
    raise Missing(f"{names[0]} is not installed")


def postgres_program(name: str) -> str:
    """Of the newest version: Debian keeps them out of the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    return str(versions[-1]) if versions else program(name)


def as_user(name: str) -> list[str]:
    """These servers refuse to run as root."""
    if os.getuid() != 0:
        return []
    return [program("setpriv"), f"--reuid={account(name)}", "--clear-groups", "--regid=65534", "--"]


def account(name: str) -> str:
    known = {line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines()}
    return name if name in known else "nobody"


def own(folder: Path, name: str) -> None:
    """Let the server's user have the folder."""
    if os.getuid() == 0:
        shutil.chown(folder, account(name))


def run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", timeout=_PATIENCE)
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed: {done.stdout.decode()} {done.stderr.decode()}")


def states(pid: int) -> list[str]:
    """The state of each thread, as the kernel names it."""
    found = []
    for each in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # a thread that has just ended
            found.append(each.read_text().rpartition(")")[2].split()[0])
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not answer in time")
        time.sleep(0.01)
