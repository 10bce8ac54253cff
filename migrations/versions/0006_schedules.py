"""schedules"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("every", sa.Integer(), nullable=False, comment="days"),
        sa.Column("at", sa.Time(), nullable=False, comment="time of day in `timezone`"),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column(
            "closed_share",
            sa.Double(),
            nullable=True,
            comment="share of the usual series whose rows close a day; null: only the clock does",
        ),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "last_day", sa.Date(), nullable=True, comment="what the last run was for: a planned day, or a day of sales"
        ),
        sa.Column("last_run", sa.DateTime(timezone=True), nullable=True),
        sa.Column("newest_day", sa.Date(), nullable=True, comment="the newest day of sales at the last run"),
        sa.Column(
            "looked_at",
            sa.BigInteger(),
            nullable=True,
            comment="sum of the series' revisions in which no further day was closed",
        ),
        sa.CheckConstraint("kind IN ('update', 'fine_tune', 'train', 'housekeeping')", name=op.f("ck_schedules_kind")),
        sa.CheckConstraint("every BETWEEN 1 AND 365", name=op.f("ck_schedules_every_range")),
        sa.CheckConstraint("closed_share BETWEEN 0 AND 1", name=op.f("ck_schedules_closed_share_range")),
        sa.CheckConstraint(
            "closed_share IS NULL OR kind = 'update'", name=op.f("ck_schedules_only_updates_are_for_days")
        ),
        sa.CheckConstraint("(last_day IS NULL) = (last_run IS NULL)", name=op.f("ck_schedules_day_of_run")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedules")),
        sa.UniqueConstraint("kind", name=op.f("uq_schedules_kind")),
    )
    op.execute(
        """
        INSERT INTO schedules (name, kind, every, at, timezone, enabled, closed_share) VALUES
        ('daily-update', 'update', 1, '03:00', 'UTC', true, 0.95),
        ('fine-tuning', 'fine_tune', 7, '04:00', 'UTC', true, NULL),
        ('retraining', 'train', 28, '05:00', 'UTC', true, NULL),
        ('housekeeping', 'housekeeping', 1, '02:00', 'UTC', true, NULL)"""
    )
    op.drop_constraint(op.f("uq_jobs_kind_scheduled_for"), "jobs")
    op.add_column(
        "jobs", sa.Column("schedule", sa.Text(), nullable=True, comment="what made the job, if nobody asked for it")
    )
    op.alter_column(
        "jobs",
        "scheduled_for",
        comment="the day that a schedule made it for: one job a schedule and day",
        existing_comment="set on jobs that a schedule made: one a kind and day",
    )
    # Until now the day was that of the hour at which sales of the day before were learned.
    op.execute(
        "UPDATE jobs SET schedule = 'daily-update', scheduled_for = scheduled_for - 1 WHERE scheduled_for IS NOT NULL"
    )
    op.create_foreign_key(op.f("fk_jobs_schedule_schedules"), "jobs", "schedules", ["schedule"], ["name"])
    op.create_check_constraint(op.f("ck_jobs_day_of_schedule"), "jobs", "(schedule IS NULL) = (scheduled_for IS NULL)")
    op.create_unique_constraint(op.f("uq_jobs_schedule_scheduled_for"), "jobs", ["schedule", "scheduled_for"])


def downgrade() -> None:
    op.drop_constraint(op.f("uq_jobs_schedule_scheduled_for"), "jobs")
    op.drop_constraint(op.f("ck_jobs_day_of_schedule"), "jobs")
    op.execute(
        "UPDATE jobs SET scheduled_for = CASE WHEN schedule = 'daily-update' THEN scheduled_for + 1 END"
        " WHERE schedule IS NOT NULL"
    )
    op.drop_column("jobs", "schedule")
    op.alter_column(
        "jobs",
        "scheduled_for",
        comment="set on jobs that a schedule made: one a kind and day",
        existing_comment="the day that a schedule made it for: one job a schedule and day",
    )
    op.create_unique_constraint(op.f("uq_jobs_kind_scheduled_for"), "jobs", ["kind", "scheduled_for"])
    op.drop_table("schedules")
