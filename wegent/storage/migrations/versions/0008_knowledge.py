"""Knowledge bases and their documents."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
WHEN = (
    sa.DateTime()
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(sa.DateTime(timezone=True), "postgresql")
)


def collation() -> str:
    """As the first tables have it."""
    dialect = op.get_bind().dialect
    if getattr(dialect, "is_mariadb", False):
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if (dialect.server_version_info or ()) >= (8, 0, 17) else "utf8mb4_bin"


def upgrade() -> None:
    options: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": collation()}
    options |= {name.replace("mysql", "mariadb"): value for name, value in options.items()}
    op.create_table(
        "knowledge_bases",
        sa.Column("id", BIG, primary_key=True, autoincrement=True),
        sa.Column("user_id", BIG, nullable=False, autoincrement=False),
        sa.Column("version", BIG, nullable=False, autoincrement=False),
        sa.Column("documents", BIG, nullable=False, autoincrement=False),
        sa.Column("characters", BIG, nullable=False, autoincrement=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("updated_at", WHEN, nullable=False),
        sa.Column("name", LONG, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        **options,
    )
    op.create_index("ix_knowledge_bases_user_id", "knowledge_bases", ["user_id"])
    op.create_table(
        "knowledge_documents",
        sa.Column("id", BIG, primary_key=True, autoincrement=True),
        sa.Column("base_id", BIG, nullable=False, autoincrement=False),
        sa.Column("characters", BIG, nullable=False, autoincrement=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("title", LONG, nullable=False),
        sa.Column("text", LONG, nullable=False),
        sa.ForeignKeyConstraint(["base_id"], ["knowledge_bases.id"]),
        **options,
    )
    op.create_index("ix_knowledge_documents_base_id", "knowledge_documents", ["base_id"])


def downgrade() -> None:
    op.drop_table("knowledge_documents")
    op.drop_table("knowledge_bases")
