"""first schema"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the key; the key itself is never stored"
        ),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("cardinality(scopes) > 0", name=op.f("ck_api_keys_has_scopes")),
        sa.CheckConstraint("length(digest) = 32", name=op.f("ck_api_keys_digest_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_table(
        "calendar",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sku", sa.Text(), nullable=True, comment="null: every SKU"),
        sa.Column("location", sa.Text(), nullable=True, comment="null: every location"),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("price", sa.Double(), nullable=True),
        sa.Column("promo", sa.Double(), nullable=True),
        sa.Column("event", sa.Text(), nullable=True),
        sa.Column("open", sa.Boolean(), nullable=True),
        sa.Column("covariates", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("price >= 0 AND price < 'Infinity'", name=op.f("ck_calendar_price_range")),
        sa.CheckConstraint("promo >= 0 AND promo <= 1", name=op.f("ck_calendar_promo_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendar")),
        sa.UniqueConstraint(
            "date", "sku", "location", name=op.f("uq_calendar_date_sku_location"), postgresql_nulls_not_distinct=True
        ),
    )
    op.create_index(op.f("ix_calendar_sku_location_date"), "calendar", ["sku", "location", "date"], unique=False)
    op.create_table(
        "items",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("launched_on", sa.Date(), nullable=True),
        sa.Column("discontinued_on", sa.Date(), nullable=True),
        sa.Column("replaces", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("char_length(sku) BETWEEN 1 AND 200", name=op.f("ck_items_sku_length")),
        sa.CheckConstraint("discontinued_on >= launched_on", name=op.f("ck_items_days_ordered")),
        sa.CheckConstraint("replaces <> sku", name=op.f("ck_items_replaces_another")),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_items")),
    )
    op.create_table(
        "locations",
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("subdivision", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name=op.f("ck_locations_country_code")),
        sa.CheckConstraint("char_length(location) <= 200", name=op.f("ck_locations_location_length")),
        sa.PrimaryKeyConstraint("location", name=op.f("pk_locations")),
    )
    op.create_table(
        "replaced_sales",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False, comment="the post that replaced or deleted these values"),
        sa.Column("replaced_post_id", sa.BigInteger(), nullable=False, comment="the post that had written them"),
        sa.Column("quantity", sa.Double(), nullable=True),
        sa.Column("returned", sa.Double(), nullable=True),
        sa.Column("price", sa.Double(), nullable=True),
        sa.Column("promo", sa.Double(), nullable=True),
        sa.Column("in_stock", sa.Double(), nullable=True),
        sa.Column("replaced_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "day", "post_id", name=op.f("pk_replaced_sales")),
    )
    op.create_index(op.f("ix_replaced_sales_post_id"), "replaced_sales", ["post_id"], unique=False)
    op.create_table(
        "revisions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("name = 'calendar'", name=op.f("ck_revisions_name")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_revisions")),
    )
    op.create_table(
        "sales",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False, comment="the post that last wrote this row"),
        sa.Column("quantity", sa.Double(), nullable=True),
        sa.Column("returned", sa.Double(), nullable=True),
        sa.Column("price", sa.Double(), nullable=True),
        sa.Column("promo", sa.Double(), nullable=True),
        sa.Column("in_stock", sa.Double(), nullable=True),
        sa.CheckConstraint("day >= DATE '1900-01-01'", name=op.f("ck_sales_day_range")),
        sa.CheckConstraint("price >= 0 AND price < 'Infinity'", name=op.f("ck_sales_price_range")),
        sa.CheckConstraint("quantity >= 0 AND quantity < 'Infinity'", name=op.f("ck_sales_quantity_range")),
        sa.CheckConstraint("returned >= 0 AND returned < 'Infinity'", name=op.f("ck_sales_returned_range")),
        sa.CheckConstraint("in_stock >= 0 AND in_stock <= 1", name=op.f("ck_sales_in_stock_range")),
        sa.CheckConstraint("promo >= 0 AND promo <= 1", name=op.f("ck_sales_promo_range")),
        sa.PrimaryKeyConstraint("series_id", "day", name=op.f("pk_sales")),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "revision",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="+1 with every post that changed a row",
        ),
        sa.Column("first_day", sa.Date(), nullable=True),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(rows = 0) = (first_day IS NULL) AND (rows = 0) = (last_day IS NULL)",
            name=op.f("ck_series_days_when_rows"),
        ),
        sa.CheckConstraint(
            "char_length(sku) BETWEEN 1 AND 200 AND char_length(location) <= 200", name=op.f("ck_series_name_length")
        ),
        sa.CheckConstraint("rows >= 0 AND first_day <= last_day", name=op.f("ck_series_days_ordered")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("sku", "location", name=op.f("uq_series_sku_location")),
    )
    op.create_index(op.f("ix_series_location_sku"), "series", ["location", "sku"], unique=False)
    op.create_table(
        "versions",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("architecture", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("context_length", sa.Integer(), nullable=False),
        sa.Column("trained_on", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("artifact_sha256", sa.Text(), nullable=False),
        sa.Column("artifact_bytes", sa.BigInteger(), nullable=False),
        sa.Column("artifact_removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("artifact_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_versions_sha256")),
        sa.CheckConstraint("kind IN ('train', 'update')", name=op.f("ck_versions_kind")),
        sa.CheckConstraint("horizon >= 1 AND context_length >= 1", name=op.f("ck_versions_lengths")),
        sa.CheckConstraint("parent < version", name=op.f("ck_versions_parent_before")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_versions_version_range")),
        sa.ForeignKeyConstraint(["parent"], ["versions.version"], name=op.f("fk_versions_parent_versions")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_versions")),
        sa.UniqueConstraint("job_id", name=op.f("uq_versions_job_id")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "aliases",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("alias IN ('champion', 'challenger')", name=op.f("ck_aliases_alias")),
        sa.ForeignKeyConstraint(["version"], ["versions.version"], name=op.f("fk_aliases_version_versions")),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_aliases")),
    )
    op.create_table(
        "forecasts",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="0: a simple method answered"),
        sa.Column("series_revision", sa.BigInteger(), nullable=False),
        sa.Column("calendar_revision", sa.BigInteger(), nullable=False),
        sa.Column("cutoff", sa.Date(), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("means", sa.LargeBinary(), nullable=False, comment="float32, one a day"),
        sa.Column("quantiles", sa.LargeBinary(), nullable=False, comment="float32, days x the version's levels"),
        sa.Column(
            "fallback",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="method, reason, detail when no network answered",
        ),
        sa.Column("generated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("octet_length(means) = 4 * horizon", name=op.f("ck_forecasts_means_length")),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_forecasts_series_id_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", "version", name=op.f("pk_forecasts")),
    )
    op.create_table(
        "idempotent_answers",
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status BETWEEN 200 AND 299", name=op.f("ck_idempotent_answers_success_only")),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_idempotent_answers_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", "route", "idempotency_key", name=op.f("pk_idempotent_answers")),
    )
    op.create_index(op.f("ix_idempotent_answers_created_at"), "idempotent_answers", ["created_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=True),
        sa.Column(
            "scheduled_for", sa.Date(), nullable=True, comment="set on jobs that a schedule made: one a kind and day"
        ),
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="+1 with every claim, -1 when handed back",
        ),
        sa.Column("worker", sa.Text(), nullable=True, comment="a token fresh for each claim: the fence of publication"),
        sa.Column("run_after", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("progress", sa.Double(), server_default="0", nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=True),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("validation", sa.Double(), nullable=True),
        sa.Column("eta_seconds", sa.Double(), nullable=True),
        sa.Column(
            "epochs",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
            comment="loss and validation of every epoch so far",
        ),
        sa.Column(
            "result",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="version and outcome, when the job succeeded",
        ),
        sa.Column(
            "error", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="a problem, when the job failed"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name=op.f("ck_jobs_error_when_failed")),
        sa.CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name=op.f("ck_jobs_lease_while_running")
        ),
        sa.CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name=op.f("ck_jobs_worker_while_running")),
        sa.CheckConstraint("(status = 'succeeded') = (result IS NOT NULL)", name=op.f("ck_jobs_result_when_succeeded")),
        sa.CheckConstraint(
            "(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_finished_when_ended"),
        ),
        sa.CheckConstraint("NOT (status = 'queued' AND cancel_requested)", name=op.f("ck_jobs_cancelled_while_queued")),
        sa.CheckConstraint("kind IN ('train', 'update')", name=op.f("ck_jobs_kind")),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_jobs_status")
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_jobs_attempt_range")),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name=op.f("ck_jobs_progress_range")),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_jobs_key_id_api_keys"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("kind", "scheduled_for", name=op.f("uq_jobs_kind_scheduled_for")),
    )
    op.create_index(op.f("ix_jobs_created_at_id"), "jobs", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_jobs_leases", "jobs", ["lease_expires_at"], unique=False, postgresql_where=sa.text("status = 'running'")
    )
    op.create_index(
        "ix_jobs_queued", "jobs", ["run_after"], unique=False, postgresql_where=sa.text("status = 'queued'")
    )
    op.create_table(
        "posts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("complete", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("inserted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unchanged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("completed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("deleted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("series_ids", sa.ARRAY(sa.Integer()), server_default="{}", nullable=False),
        sa.Column("first_day", sa.Date(), nullable=True),
        sa.Column("last_day", sa.Date(), nullable=True),
        sa.Column("undone_by", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "kind <> 'sales' OR inserted + updated + unchanged = received", name=op.f("ck_posts_counts_add_up")
        ),
        sa.CheckConstraint("kind IN ('sales', 'delete', 'undo')", name=op.f("ck_posts_kind")),
        sa.CheckConstraint("undone_by IS NULL OR kind <> 'undo'", name=op.f("ck_posts_undo_is_final")),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_posts_key_id_api_keys"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["undone_by"], ["posts.id"], name=op.f("fk_posts_undone_by_posts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
        sa.UniqueConstraint("undone_by", name=op.f("uq_posts_undone_by")),
    )
    op.create_index(op.f("ix_posts_created_at"), "posts", ["created_at"], unique=False)
    op.create_table(
        "promotions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("previous", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=True),
        sa.Column(
            "rolled_back",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="left by a roll-back; skipped by the next",
        ),
        sa.Column("promoted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('merit', 'request', 'rollback')", name=op.f("ck_promotions_kind")),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_promotions_key_id_api_keys"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["previous"], ["versions.version"], name=op.f("fk_promotions_previous_versions")),
        sa.ForeignKeyConstraint(["version"], ["versions.version"], name=op.f("fk_promotions_version_versions")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.execute("INSERT INTO revisions (name) VALUES ('calendar')")

    # A version is never changed after its publication: only its use and the removal of its artifact are noted on it.
    op.execute("""
        CREATE FUNCTION versions_never_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE'
                OR to_jsonb(NEW) - 'last_used_at' - 'artifact_removed_at'
                    IS DISTINCT FROM to_jsonb(OLD) - 'last_used_at' - 'artifact_removed_at'
                OR (OLD.artifact_removed_at IS NOT NULL
                    AND NEW.artifact_removed_at IS DISTINCT FROM OLD.artifact_removed_at)
            THEN
                RAISE EXCEPTION 'version % is published and can no longer be changed', OLD.version
                    USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER versions_never_change BEFORE UPDATE OR DELETE ON versions
        FOR EACH ROW EXECUTE FUNCTION versions_never_change()""")


def downgrade() -> None:
    op.drop_table("promotions")
    op.drop_index(op.f("ix_posts_created_at"), table_name="posts")
    op.drop_table("posts")
    op.drop_index("ix_jobs_queued", table_name="jobs", postgresql_where=sa.text("status = 'queued'"))
    op.drop_index("ix_jobs_leases", table_name="jobs", postgresql_where=sa.text("status = 'running'"))
    op.drop_index(op.f("ix_jobs_created_at_id"), table_name="jobs")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_idempotent_answers_created_at"), table_name="idempotent_answers")
    op.drop_table("idempotent_answers")
    op.drop_table("forecasts")
    op.drop_table("aliases")
    op.drop_table("workers")
    op.drop_table("versions")
    op.drop_index(op.f("ix_series_location_sku"), table_name="series")
    op.drop_table("series")
    op.drop_table("sales")
    op.drop_table("revisions")
    op.drop_index(op.f("ix_replaced_sales_post_id"), table_name="replaced_sales")
    op.drop_table("replaced_sales")
    op.drop_table("locations")
    op.drop_table("items")
    op.drop_index(op.f("ix_calendar_sku_location_date"), table_name="calendar")
    op.drop_table("calendar")
    op.drop_table("api_keys")
    op.execute("DROP FUNCTION versions_never_change()")
