"""default country; covariates that a forecast lacked"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    comment = "of locations without one; its change is one of the calendar"
    op.add_column("revisions", sa.Column("default_country", sa.Text(), comment=comment))
    op.create_check_constraint(
        op.f("ck_revisions_default_country_code"), "revisions", "default_country ~ '^[A-Z]{2}(-.+)?$'"
    )
    op.add_column(
        "forecasts",
        sa.Column(
            "missing_covariates",
            postgresql.JSONB(),
            comment="by name of a covariate, the first day ahead whose value is not known, from 1",
        ),
    )


def downgrade() -> None:
    op.drop_column("forecasts", "missing_covariates")
    op.drop_constraint(op.f("ck_revisions_default_country_code"), "revisions")
    op.drop_column("revisions", "default_country")
