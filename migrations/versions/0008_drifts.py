"""drifts that were found, and the state of what finds them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "drifts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=True),
        sa.Column("segment", sa.Text(), nullable=True),
        sa.Column("found_on", sa.Date(), nullable=False, comment="day of sales that brought it to light"),
        sa.Column("since", sa.Date(), nullable=False, comment="day from which on it was worse"),
        sa.Column(
            "size",
            sa.Double(),
            nullable=False,
            comment="loss less the seasonal naive's, since then against before, in seasonal errors",
        ),
        sa.Column("percent", sa.Double(), nullable=True, comment="the same in percent of the loss before"),
        sa.Column("action", sa.Text(), nullable=True, comment="what it set off; null: nothing"),
        sa.Column("job_id", sa.Uuid(), nullable=False, comment="the update that found it"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(scope = 'series' AND series_id IS NOT NULL AND segment IS NULL)"
            " OR (scope = 'segment' AND series_id IS NULL AND segment IS NOT NULL)",
            name=op.f("ck_drifts_scope"),
        ),
        sa.CheckConstraint("segment IN ('fast', 'slow', 'intermittent')", name=op.f("ck_drifts_segment")),
        sa.CheckConstraint("action IN ('fine_tuning', 'retraining')", name=op.f("ck_drifts_action")),
        sa.CheckConstraint("since <= found_on", name=op.f("ck_drifts_since_before")),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_drifts_series_id_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drifts")),
        sa.UniqueConstraint("series_id", "found_on", name=op.f("uq_drifts_series_id_found_on")),
        sa.UniqueConstraint("segment", "found_on", name=op.f("uq_drifts_segment_found_on")),
    )
    op.create_index(op.f("ix_drifts_scope_found_on"), "drifts", ["scope", "found_on"])
    op.create_index(op.f("ix_drifts_job_id"), "drifts", ["job_id"])
    op.create_table(
        "drift_states",
        sa.Column("job_id", sa.Uuid(), nullable=False, comment="counts while it scored the newest scored day"),
        sa.Column(
            "block", sa.Integer(), autoincrement=False, nullable=False, comment="series id / 512; -1: the segments"
        ),
        sa.Column("series_ids", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column(
            "state",
            sa.LargeBinary(),
            nullable=False,
            comment="zstd of float32, columns of models/online/drift x series",
        ),
        sa.PrimaryKeyConstraint("job_id", "block", name=op.f("pk_drift_states")),
    )
    op.execute("ALTER TABLE drift_states ALTER COLUMN state SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("drift_states")
    op.drop_table("drifts")
