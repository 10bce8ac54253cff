"""backtests"""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_jobs_kind"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_kind"), "jobs", "kind IN ('train', 'update', 'backtest')")
    op.create_check_constraint(
        op.f("ck_jobs_backtest_has_table"),
        "jobs",
        "kind <> 'backtest' OR status <> 'succeeded'"
        " OR coalesce(result #>> '{table,sha256}' ~ '^[0-9a-f]{64}$', false)",
    )


def downgrade() -> None:
    # What only this schema can hold goes: older code would take a queued backtest for an update of the champion.
    op.execute("DELETE FROM jobs WHERE kind = 'backtest'")
    op.drop_constraint(op.f("ck_jobs_backtest_has_table"), "jobs")
    op.drop_constraint(op.f("ck_jobs_kind"), "jobs")
    op.create_check_constraint(op.f("ck_jobs_kind"), "jobs", "kind IN ('train', 'update')")
