"""Turns of the queue, devices, and whether a run was heard of."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
WHEN = (
    sa.DateTime()
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(sa.DateTime(timezone=True), "postgresql")
)


def text(name: str, width: int = 255, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(width), nullable=null)


def key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def big(name: str) -> sa.Column[int]:
    return sa.Column(name, BIG, nullable=False, autoincrement=False)


def collation() -> str:
    """As the first tables have it."""
    dialect = op.get_bind().dialect
    if getattr(dialect, "is_mariadb", False):
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if (dialect.server_version_info or ()) >= (8, 0, 17) else "utf8mb4_bin"


def upgrade() -> None:
    options: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation()}
    options |= {name.replace("mysql", "mariadb"): value for name, value in options.items()}
    op.add_column("subtasks", sa.Column("reported", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table("queues", key("target", sa.String(255)), big("turns"), **options)
    op.create_table("turns", key("target", sa.String(255)), key("user_id", BIG), big("turn"), **options)
    op.create_table(
        "devices",
        key("user_id", BIG),
        key("device_id", sa.String(255)),
        sa.Column("slot_max", sa.Integer(), nullable=False),
        text("status", 32),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("seen_at", WHEN, nullable=True),
        sa.Column("offline_since", WHEN, nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        text("connection", null=True),
        text("executor_version", null=True),
        sa.Column("name", LONG, nullable=False),
        sa.Column("capabilities", LONG, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        **options,
    )


def downgrade() -> None:
    for name in ("devices", "turns", "queues"):
        op.drop_table(name)
    op.drop_column("subtasks", "reported")
