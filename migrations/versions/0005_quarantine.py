"""days held from learning and forecasts"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False, comment="the post that wrote this quantity"),
        sa.Column("quantity", sa.Double(), nullable=False, comment="as posted"),
        sa.Column("expected", sa.Double(), nullable=True, comment="what such a day usually sells; null: not known"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False, comment="the reason in a sentence"),
        sa.Column("status", sa.Text(), server_default="held", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_id", sa.Integer(), nullable=True, comment="whose decision it was"),
        sa.CheckConstraint("quantity >= 0 AND quantity < 'Infinity'", name=op.f("ck_quarantine_quantity_range")),
        sa.CheckConstraint("expected >= 0 AND expected < 'Infinity'", name=op.f("ck_quarantine_expected_range")),
        sa.CheckConstraint("reason IN ('factor', 'units', 'repeated', 'zeros')", name=op.f("ck_quarantine_reason")),
        sa.CheckConstraint(
            "status IN ('held', 'confirmed', 'dismissed', 'replaced')", name=op.f("ck_quarantine_status")
        ),
        sa.CheckConstraint(
            "status NOT IN ('confirmed', 'dismissed') OR decided_at IS NOT NULL",
            name=op.f("ck_quarantine_decided_when"),
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_quarantine_key_id_api_keys"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_quarantine_series_id_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_index(
        "ix_quarantine_holding",
        "quarantine",
        ["series_id", "day"],
        unique=True,
        postgresql_where=sa.text("status IN ('held', 'dismissed')"),
    )
    op.create_index(op.f("ix_quarantine_series_id_day"), "quarantine", ["series_id", "day"])
    op.create_index(op.f("ix_quarantine_post_id"), "quarantine", ["post_id"])
    op.create_index(op.f("ix_quarantine_status_id"), "quarantine", ["status", "id"])
    op.create_index(op.f("ix_quarantine_decided_at"), "quarantine", ["decided_at"])
    op.add_column(
        "forecasts",
        sa.Column(
            "held_out",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="date, quantity and reason of the days in quarantine that were left out",
        ),
    )


def downgrade() -> None:
    op.drop_column("forecasts", "held_out")
    op.drop_table("quarantine")
