"""what stands beside a lineage is scored where the lineage spoke as well"""

from collections.abc import Sequence

from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BEFORE = "'live', 'lineage', 'frozen', 'seasonal_naive'"
AFTER = "'live', 'frozen', 'seasonal_naive', 'lineage', 'lineage_frozen', 'lineage_live'"


def upgrade() -> None:
    _sources(AFTER)
    # A lineage speaks of a part of what the others speak of: where all of a day are as many, they are the same.
    op.execute("""
        INSERT INTO scores (day, source, segment, stretch, sums)
        SELECT day, 'lineage_' || source, segment, stretch, sums FROM scores
        WHERE source IN ('frozen', 'live') AND day IN (
            SELECT day FROM scores GROUP BY day
            HAVING sum(sums[1]) FILTER (WHERE source = 'lineage') = sum(sums[1]) FILTER (WHERE source = 'frozen')
            AND sum(sums[1]) FILTER (WHERE source = 'lineage') = sum(sums[1]) FILTER (WHERE source = 'live'))""")


def downgrade() -> None:
    op.execute("DELETE FROM scores WHERE source IN ('lineage_frozen', 'lineage_live')")
    _sources(BEFORE)


def _sources(names: str) -> None:
    op.drop_constraint(op.f("ck_scores_source"), "scores", type_="check")
    op.create_check_constraint(op.f("ck_scores_source"), "scores", f"source IN ({names})")
