"""Who is who in a benchmark: users, their tokens, tasks. The same for every server.

Users `user1` … `user2000`. Tasks: 1 … 2000, task k of user k; group chats 2001 … 2200, of user 1 …; one big room,
2201, of which everybody is a member; and 2202 … 2701, of user 1 …, whose runs go to the executor of the benchmark.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

SECRET = "a secret of the benchmark, known to all of its servers"
USERS = 2000
FIRST_TASK = 1
FIRST_GROUP, GROUPS = USERS + FIRST_TASK, 200
BIG_ROOM = FIRST_GROUP + GROUPS
FIRST_STREAMED, STREAMED = BIG_ROOM + 1, 500

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, user_name TEXT NOT NULL UNIQUE, is_active INTEGER NOT NULL);
CREATE TABLE tasks (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, title TEXT NOT NULL,
  is_group_chat INTEGER NOT NULL, status TEXT NOT NULL, revision INTEGER NOT NULL, last_message_id INTEGER NOT NULL);
CREATE TABLE members (task_id INTEGER NOT NULL, user_id INTEGER NOT NULL, PRIMARY KEY (task_id, user_id));
CREATE TABLE subtasks (id INTEGER PRIMARY KEY, task_id INTEGER NOT NULL, user_id INTEGER NOT NULL,
  message_id INTEGER NOT NULL, revision INTEGER NOT NULL, role TEXT NOT NULL, status TEXT NOT NULL,
  prompt TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE UNIQUE INDEX subtasks_message ON subtasks (task_id, message_id);
"""


def sign(user_id: int) -> str:
    """Make a token as the servers' tokens are: JWT, HS256, good for a day."""
    now = int(time.time())
    claims = {
        "sub": f"user{user_id}", "user_id": user_id, "iat": now, "exp": now + 86400, "jti": f"bench{user_id}",
        "scope": "user",
    }  # fmt: skip
    parts = [_b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    text = b".".join(parts)
    return (text + b"." + _b64(hmac.digest(SECRET.encode(), text, hashlib.sha256))).decode()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def tasks() -> list[tuple[int, int, bool]]:
    """Return every task as (id, owner, group chat)."""
    own = [(FIRST_TASK + i, i + 1, False) for i in range(USERS)]
    groups = [(FIRST_GROUP + i, i + 1, True) for i in range(GROUPS)]
    streamed = [(FIRST_STREAMED + i, i + 1, False) for i in range(STREAMED)]
    return [*own, *groups, (BIG_ROOM, 1, True), *streamed]


def write_tokens(path: Path) -> None:
    path.write_text("".join(sign(i + 1) + "\n" for i in range(USERS)))


def write_peer_database(path: Path) -> None:
    """Make the peers' database anew."""
    for old in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        old.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        db.executemany("INSERT INTO users VALUES (?, ?, 1)", [(i + 1, f"user{i + 1}") for i in range(USERS)])
        rows = [(task, owner, f"Task {task}", int(group), "COMPLETED", 1, 0) for task, owner, group in tasks()]
        db.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        db.executemany("INSERT INTO members VALUES (?, ?)", [(BIG_ROOM, i + 1) for i in range(USERS)])
