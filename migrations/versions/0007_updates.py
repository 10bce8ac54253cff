"""forecasts as issued, their scores, and verdicts about updates"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ARRAYS = ("trained", "lineage", "candidate", "champion", "frozen")


def upgrade() -> None:
    op.create_table(
        "issuances",
        sa.Column(
            "cutoff", sa.Date(), nullable=False, comment="newest day that the forecasts had seen; one issue a day"
        ),
        sa.Column("job_id", sa.Uuid(), nullable=False, comment="the update that issued: its rows in `issued` count"),
        sa.Column("version", sa.Integer(), nullable=True, comment="what the update made; null: nothing new"),
        sa.Column("champion", sa.Integer(), nullable=False, comment="what callers read from then on"),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("horizon >= 1", name=op.f("ck_issuances_horizon_range")),
        sa.ForeignKeyConstraint(["version"], ["versions.version"], name=op.f("fk_issuances_version_versions")),
        sa.ForeignKeyConstraint(["champion"], ["versions.version"], name=op.f("fk_issuances_champion_versions")),
        sa.PrimaryKeyConstraint("cutoff", name=op.f("pk_issuances")),
        sa.UniqueConstraint("job_id", name=op.f("uq_issuances_job_id")),
    )
    op.create_table(
        "issued",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False, comment="series id / 512"),
        sa.Column("series_ids", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column(
            "scales", sa.LargeBinary(), nullable=False, comment="float32 a series: unit of `trained` and `lineage`"
        ),
        sa.Column(
            "trained",
            sa.LargeBinary(),
            nullable=False,
            comment="float16, days x series x levels: the networks as trained",
        ),
        sa.Column("lineage", sa.LargeBinary(), nullable=True, comment="the same of their lineage"),
        sa.Column(
            "candidate",
            sa.LargeBinary(),
            nullable=True,
            comment="float32, days x series x (mean, 9 levels): of the update's version",
        ),
        sa.Column(
            "champion",
            sa.LargeBinary(),
            nullable=True,
            comment="the same of the champion before it, where that differs",
        ),
        sa.Column(
            "frozen",
            sa.LargeBinary(),
            nullable=False,
            comment="the same of the networks as trained, without any update",
        ),
        sa.PrimaryKeyConstraint("job_id", "block", name=op.f("pk_issued")),
    )
    for name in ARRAYS:
        op.execute(f"ALTER TABLE issued ALTER COLUMN {name} SET STORAGE EXTERNAL")
    op.create_table(
        "scored_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False, comment="whose rows in `series_scores` count"),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_scored_days")),
    )
    op.create_table(
        "scores",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("stretch", sa.Text(), nullable=False, comment="days ahead, such as 1-7"),
        sa.Column(
            "sums",
            sa.ARRAY(sa.Double()),
            nullable=False,
            comment="of all series of the segment, in the order of models/online/scoring",
        ),
        sa.CheckConstraint("source IN ('live', 'lineage', 'frozen', 'seasonal_naive')", name=op.f("ck_scores_source")),
        sa.ForeignKeyConstraint(
            ["day"], ["scored_days.day"], name=op.f("fk_scores_day_scored_days"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("day", "source", "segment", "stretch", name=op.f("pk_scores")),
    )
    op.create_table(
        "series_scores",
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False, comment="series id / 512"),
        sa.Column("day", sa.Date(), nullable=False, comment="the first of its days"),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column(
            "days",
            sa.SmallInteger(),
            server_default="1",
            nullable=False,
            comment="1, or 7 once a week was put together",
        ),
        sa.Column("series_ids", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column(
            "sums",
            sa.LargeBinary(),
            nullable=False,
            comment="number of stretches in a byte, then zstd of float32, series x sources x stretches x sums",
        ),
        sa.CheckConstraint("days IN (1, 7)", name=op.f("ck_series_scores_days")),
        sa.PrimaryKeyConstraint("block", "day", "job_id", name=op.f("pk_series_scores")),
    )
    op.create_table(
        "verdicts",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("against", sa.Integer(), nullable=True, comment="the champion it was judged against"),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("checks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False, comment="target days of live forecasts that it was judged by"),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("days >= 0", name=op.f("ck_verdicts_days_range")),
        sa.ForeignKeyConstraint(["against"], ["versions.version"], name=op.f("fk_verdicts_against_versions")),
        sa.ForeignKeyConstraint(["version"], ["versions.version"], name=op.f("fk_verdicts_version_versions")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_verdicts")),
    )


def downgrade() -> None:
    for table in ("verdicts", "series_scores", "scores", "scored_days", "issued", "issuances"):
        op.drop_table(table)
