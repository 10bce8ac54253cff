"""trials of a training that tunes"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "trials",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column(
            "number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="from 0; the first is what was asked for",
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "params",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="what was tried: the fields of a training",
        ),
        sa.Column("validation", sa.ARRAY(sa.Double()), nullable=False, comment="validation loss after each epoch"),
        sa.Column("value", sa.Double(), nullable=True, comment="the least of them"),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.CheckConstraint("state IN ('complete', 'pruned', 'failed')", name=op.f("ck_trials_state")),
        sa.CheckConstraint("number >= 0", name=op.f("ck_trials_number_range")),
        sa.CheckConstraint(
            "state <> 'complete' OR (value IS NOT NULL AND cardinality(validation) > 0)",
            name=op.f("ck_trials_complete_has_value"),
        ),
        sa.CheckConstraint("value < 'Infinity'", name=op.f("ck_trials_value_finite")),
        sa.CheckConstraint("seconds >= 0 AND seconds < 'Infinity'", name=op.f("ck_trials_seconds_range")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_trials_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_trials")),
    )


def downgrade() -> None:
    op.drop_table("trials")
