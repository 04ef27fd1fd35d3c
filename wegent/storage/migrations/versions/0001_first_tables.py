"""The first tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
WHEN = (
    sa.DateTime()
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(sa.DateTime(timezone=True), "postgresql")
)


def text(name: str, width: int, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(width), nullable=null)


def long(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, LONG, nullable=False) for name in names]


def column(name: str, kind: TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def big(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False, autoincrement=False) for name in names]


def when(*names: str, null: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, WHEN, nullable=null) for name in names]


def key() -> sa.Column[int]:
    return sa.Column("id", BIG, primary_key=True, autoincrement=True)


def to(name: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([name], [target])


def collation() -> str:
    """Names are equal to the letter, trailing spaces included; not every server has a collation for that."""
    dialect = op.get_bind().dialect
    if getattr(dialect, "is_mariadb", False):
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if (dialect.server_version_info or ()) >= (8, 0, 17) else "utf8mb4_bin"


def upgrade() -> None:
    options: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation()}
    options |= {name.replace("mysql", "mariadb"): value for name, value in options.items()}
    op.create_table(
        "users",
        key(),
        text("user_name", 255),
        text("password_hash", 255, null=True),
        text("role", 32),
        column("active", sa.Boolean()),
        *when("created_at"),
        column("avatar", LONG, null=True),
        sa.UniqueConstraint("user_name", name="uq_users_user_name"),
        **options,
    )
    op.create_table(
        "tokens",
        sa.Column("jti", sa.String(64), primary_key=True),
        *big("user_id"),
        text("scope", 32),
        *long("name", "claims"),
        *when("created_at"),
        *when("expires_at", "revoked_at", null=True),
        to("user_id", "users.id"),
        **options,
    )
    op.create_index("ix_tokens_user_id", "tokens", ["user_id"])
    op.create_index("ix_tokens_revoked_at", "tokens", ["revoked_at"])
    op.create_table(
        "kinds",
        key(),
        column("user_id", BIG, null=True),
        text("kind", 64),
        text("namespace", 255),
        text("name", 255),
        *big("owner_key"),
        *when("created_at", "updated_at"),
        *long("body"),
        to("user_id", "users.id"),
        sa.UniqueConstraint("owner_key", "kind", "namespace", "name", name="uq_kinds_name"),
        **options,
    )
    op.create_index("ix_kinds_user_id", "kinds", ["user_id"])
    op.create_index("ix_kinds_kind", "kinds", ["kind"])
    op.create_table(
        "tasks",
        key(),
        *big("owner_id", "team_id"),
        text("status", 32),
        column("progress", sa.Integer()),
        *big("revision", "last_message_id"),
        column("is_group_chat", sa.Boolean()),
        text("task_type", 32),
        *when("created_at", "updated_at"),
        *when("completed_at", null=True),
        text("device_id", 255, null=True),
        column("deleted", sa.Boolean()),
        *long("team_name", "title", "title_key", "options"),
        to("owner_id", "users.id"),
        **options,
    )
    op.create_index("ix_tasks_owner", "tasks", ["owner_id", "updated_at"])
    op.create_table(
        "subtasks",
        key(),
        *big("task_id", "message_id", "revision"),
        column("attempt", sa.Integer()),
        text("role", 32),
        *big("sender_id"),
        text("sender_name", 255),
        text("status", 32),
        column("progress", sa.Integer()),
        *when("created_at", "updated_at"),
        text("client_message_id", 64, null=True),
        column("answers", BIG, null=True),
        *long("bot_name"),
        text("shell_type", 64),
        text("target", 255),
        text("owner", 255, null=True),
        text("lease", 255, null=True),
        text("on_lost", 32),
        text("reason", 64, null=True),
        column("lost_attempts", sa.Integer()),
        *when("claimable_at", "started_at", "completed_at", null=True),
        column("deleted", sa.Boolean()),
        text("error_type", 64, null=True),
        column("error_message", LONG, null=True),
        *long("options", "contexts", "result", "prompt", "thinking", "content", "values"),
        to("task_id", "tasks.id"),
        to("sender_id", "users.id"),
        sa.UniqueConstraint("task_id", "message_id", name="uq_subtasks_message"),
        sa.UniqueConstraint("sender_id", "client_message_id", name="uq_subtasks_sent"),
        **options,
    )
    op.create_index("ix_subtasks_status", "subtasks", ["status", "target"])
    op.create_table(
        "members",
        sa.Column("task_id", BIG, primary_key=True, autoincrement=False),
        sa.Column("user_id", BIG, primary_key=True, autoincrement=False),
        text("user_name", 255),
        text("role", 32),
        *when("joined_at"),
        *when("removed_at", null=True),
        *big("last_read_message_id"),
        to("task_id", "tasks.id"),
        to("user_id", "users.id"),
        **options,
    )
    op.create_index("ix_members_user_id", "members", ["user_id"])
    op.create_table("owners", sa.Column("owner", sa.String(255), primary_key=True), *big("beat"), **options)
    op.create_table(
        "stream_parts",
        sa.Column("subtask_id", BIG, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("start", BIG, primary_key=True, autoincrement=False),
        *big("task_id"),
        *long("text"),
        **options,
    )


def downgrade() -> None:
    for name in ("stream_parts", "owners", "members", "subtasks", "tasks", "kinds", "tokens", "users"):
        op.drop_table(name)
