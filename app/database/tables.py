"""Every table of the service, as SQLAlchemy metadata. The invariants stand here first: keys, checks, partial indexes.

Alembic compares the migrated schema with this file (`alembic check`), so the two cannot differ. No query lives here.
A table of a series has `series_id` first in its key, so that it could be distributed by series.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOW = text("now()")


def _timestamp(name: str, *, nullable: bool = True, default_now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=NOW if default_now else None)


def _finite(name: str, upper: str = "< 'Infinity'") -> CheckConstraint:
    # NaN sorts above Infinity in Postgres, so one comparison refuses both.
    return CheckConstraint(f"{name} >= 0 AND {name} {upper}", name=f"{name}_range")


def _day_values() -> list[Column[object]]:
    """The measured columns of one series' day, shared by `sales` and `replaced_sales`."""
    return [
        Column("quantity", Double),
        Column("returned", Double),
        Column("price", Double),
        Column("promo", Double),
        Column("in_stock", Double),
    ]


api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column(
        "digest",
        LargeBinary,
        nullable=False,
        unique=True,
        comment="SHA-256 of the key; the key itself is never stored",
    ),
    Column("scopes", ARRAY(Text), nullable=False),
    _timestamp("created_at", nullable=False, default_now=True),
    _timestamp("revoked_at"),
    CheckConstraint("length(digest) = 32", name="digest_length"),
    CheckConstraint("cardinality(scopes) > 0", name="has_scopes"),
)

idempotent_answers = Table(
    "idempotent_answers",
    metadata,
    Column("key_id", Integer, ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True),
    Column("route", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    _timestamp("created_at", nullable=False, default_now=True),
    CheckConstraint("status BETWEEN 200 AND 299", name="success_only"),
    Index(None, "created_at"),
)

series = Table(
    "series",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("sku", Text, nullable=False),
    Column("location", Text, nullable=False, server_default=""),
    Column(
        "revision",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="+1 with every post that changed a row",
    ),
    Column("first_day", Date),
    Column("last_day", Date),
    Column("rows", BigInteger, nullable=False, server_default="0"),
    _timestamp("created_at", nullable=False, default_now=True),
    UniqueConstraint("sku", "location"),
    Index(None, "location", "sku"),
    CheckConstraint("char_length(sku) BETWEEN 1 AND 200 AND char_length(location) <= 200", name="name_length"),
    CheckConstraint("(rows = 0) = (first_day IS NULL) AND (rows = 0) = (last_day IS NULL)", name="days_when_rows"),
    CheckConstraint("rows >= 0 AND first_day <= last_day", name="days_ordered"),
)

sales = Table(
    "sales",
    metadata,
    # No foreign keys here: a row-by-row check made COPY four times slower (13.5 s instead of 3.3 s for 2 M rows). Every
    # writer holds the lock of the `series` row instead, and deleting a series deletes its sales in the same transaction.
    Column("series_id", Integer, primary_key=True, autoincrement=False),
    Column("day", Date, primary_key=True),
    Column("post_id", BigInteger, nullable=False, comment="the post that last wrote this row"),
    *_day_values(),
    _finite("quantity"),
    _finite("returned"),
    _finite("price"),
    _finite("promo", "<= 1"),
    _finite("in_stock", "<= 1"),
    CheckConstraint("day >= DATE '1900-01-01'", name="day_range"),
)

replaced_sales = Table(
    "replaced_sales",
    metadata,
    Column("series_id", Integer, primary_key=True, autoincrement=False),
    Column("day", Date, primary_key=True),
    Column("post_id", BigInteger, primary_key=True, comment="the post that replaced or deleted these values"),
    Column("replaced_post_id", BigInteger, nullable=False, comment="the post that had written them"),
    *_day_values(),
    _timestamp("replaced_at", nullable=False, default_now=True),
    Index(None, "post_id"),
)

posts = Table(
    "posts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key_id", Integer, ForeignKey("api_keys.id", ondelete="SET NULL")),
    Column("content_type", Text),
    Column("complete", Boolean, nullable=False, server_default="false"),
    Column("received", BigInteger, nullable=False, server_default="0"),
    Column("inserted", BigInteger, nullable=False, server_default="0"),
    Column("updated", BigInteger, nullable=False, server_default="0"),
    Column("unchanged", BigInteger, nullable=False, server_default="0"),
    Column("completed", BigInteger, nullable=False, server_default="0"),
    Column("deleted", BigInteger, nullable=False, server_default="0"),
    # Which part of `sales` the post touched: undo and `changed_since` find its rows through the primary key.
    Column("series_ids", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("first_day", Date),
    Column("last_day", Date),
    Column("undone_by", BigInteger, ForeignKey("posts.id"), unique=True),
    # Not now(), which is when the transaction began: a caller who asks for what changed since his last look would miss a long
    # post that began before it. A post is recorded as the last thing before its commit.
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("kind IN ('sales', 'delete', 'undo')", name="kind"),
    CheckConstraint("kind <> 'sales' OR inserted + updated + unchanged = received", name="counts_add_up"),
    CheckConstraint("undone_by IS NULL OR kind <> 'undo'", name="undo_is_final"),
    Index(None, "created_at"),
)

items = Table(
    "items",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("name", Text),
    Column("description", Text),
    Column("category", Text),
    Column("brand", Text),
    Column("launched_on", Date),
    Column("discontinued_on", Date),
    Column("replaces", Text),
    Column("attributes", JSONB, nullable=False, server_default="{}"),
    _timestamp("updated_at", nullable=False, default_now=True),
    CheckConstraint("char_length(sku) BETWEEN 1 AND 200", name="sku_length"),
    CheckConstraint("discontinued_on >= launched_on", name="days_ordered"),
    CheckConstraint("replaces <> sku", name="replaces_another"),
)

locations = Table(
    "locations",
    metadata,
    Column("location", Text, primary_key=True),
    Column("name", Text),
    Column("country", Text),
    Column("subdivision", Text),
    Column("timezone", Text),
    _timestamp("updated_at", nullable=False, default_now=True),
    CheckConstraint("char_length(location) <= 200", name="location_length"),
    CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_code"),
)

calendar = Table(
    "calendar",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("sku", Text, comment="null: every SKU"),
    Column("location", Text, comment="null: every location"),
    Column("date", Date, nullable=False),
    Column("price", Double),
    Column("promo", Double),
    Column("event", Text),
    Column("open", Boolean),
    Column("covariates", JSONB, nullable=False, server_default="{}"),
    _timestamp("updated_at", nullable=False, default_now=True),
    UniqueConstraint("date", "sku", "location", postgresql_nulls_not_distinct=True),
    Index(None, "sku", "location", "date"),  # the days of one series, read with every forecast
    _finite("price"),
    _finite("promo", "<= 1"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False, server_default="0"),
    Column("default_country", Text, comment="of locations without one; its change is one of the calendar"),
    CheckConstraint("name = 'calendar'", name="name"),
    CheckConstraint("default_country ~ '^[A-Z]{2}(-.+)?$'", name="default_country_code"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False, unique=True),
    Column("every", Integer, nullable=False, comment="days"),
    Column("at", Time, nullable=False, comment="time of day in `timezone`"),
    Column("timezone", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column(
        "closed_share", Double, comment="share of the usual series whose rows close a day; null: only the clock does"
    ),
    _timestamp("since", nullable=False, default_now=True),
    Column("last_day", Date, comment="what the last run was for: a planned day, or a day of sales"),
    _timestamp("last_run"),
    Column("newest_day", Date, comment="the newest day of sales at the last run"),
    Column("looked_at", BigInteger, comment="sum of the series' revisions in which no further day was closed"),
    CheckConstraint("kind IN ('update', 'fine_tune', 'train', 'housekeeping')", name="kind"),
    CheckConstraint("every BETWEEN 1 AND 365", name="every_range"),
    CheckConstraint("closed_share BETWEEN 0 AND 1", name="closed_share_range"),
    CheckConstraint("closed_share IS NULL OR kind = 'update'", name="only_updates_are_for_days"),
    CheckConstraint("(last_day IS NULL) = (last_run IS NULL)", name="day_of_run"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="queued"),
    Column("request", JSONB, nullable=False, server_default="{}"),
    Column("key_id", Integer, ForeignKey("api_keys.id", ondelete="SET NULL")),
    Column("schedule", Text, ForeignKey("schedules.name"), comment="what made the job, if nobody asked for it"),
    Column("scheduled_for", Date, comment="the day that a schedule made it for: one job a schedule and day"),
    Column("attempt", Integer, nullable=False, server_default="0", comment="+1 with every claim, -1 when handed back"),
    Column("worker", Text, comment="a token fresh for each claim: the fence of publication"),
    _timestamp("run_after", nullable=False, default_now=True),
    _timestamp("lease_expires_at"),
    Column("cancel_requested", Boolean, nullable=False, server_default="false"),
    Column("progress", Double, nullable=False, server_default="0"),
    Column("stage", Text),
    Column("epoch", Integer),
    Column("loss", Double),
    Column("validation", Double),
    Column("eta_seconds", Double),
    Column(
        "epochs",
        JSONB,
        nullable=False,
        server_default="[]",
        comment="loss and validation of every epoch so far",
    ),
    Column("result", JSONB, comment="version and outcome, when the job succeeded"),
    Column("error", JSONB, comment="a problem, when the job failed"),
    _timestamp("created_at", nullable=False, default_now=True),
    _timestamp("started_at"),
    _timestamp("finished_at"),
    _timestamp("updated_at", nullable=False, default_now=True),
    CheckConstraint("kind IN ('train', 'update', 'backtest')", name="kind"),
    CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="status"),
    CheckConstraint("(status = 'running') = (lease_expires_at IS NOT NULL)", name="lease_while_running"),
    CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name="worker_while_running"),
    CheckConstraint(
        "(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
        name="finished_when_ended",
    ),
    CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="error_when_failed"),
    CheckConstraint("(status = 'succeeded') = (result IS NOT NULL)", name="result_when_succeeded"),
    CheckConstraint(
        "kind <> 'backtest' OR status <> 'succeeded'"
        " OR coalesce(result #>> '{table,sha256}' ~ '^[0-9a-f]{64}$', false)",
        name="backtest_has_table",
    ),
    CheckConstraint("NOT (status = 'queued' AND cancel_requested)", name="cancelled_while_queued"),
    CheckConstraint("attempt >= 0", name="attempt_range"),
    CheckConstraint("progress BETWEEN 0 AND 1", name="progress_range"),
    CheckConstraint("(schedule IS NULL) = (scheduled_for IS NULL)", name="day_of_schedule"),
    UniqueConstraint("schedule", "scheduled_for"),
    Index("ix_jobs_queued", "run_after", postgresql_where=text("status = 'queued'")),
    Index("ix_jobs_leases", "lease_expires_at", postgresql_where=text("status = 'running'")),
    Index(None, "created_at", "id"),
)

trials = Table(
    "trials",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False, comment="from 0; the first is what was asked for"),
    Column("state", Text, nullable=False),
    Column("params", JSONB, nullable=False, comment="what was tried: the fields of a training"),
    Column("validation", ARRAY(Double), nullable=False, comment="validation loss after each epoch"),
    Column("value", Double, comment="the least of them"),
    Column("seconds", Double, nullable=False),
    CheckConstraint("state IN ('complete', 'pruned', 'failed')", name="state"),
    CheckConstraint("number >= 0", name="number_range"),
    CheckConstraint(
        "state <> 'complete' OR (value IS NOT NULL AND cardinality(validation) > 0)", name="complete_has_value"
    ),
    CheckConstraint("value < 'Infinity'", name="value_finite"),
    CheckConstraint("seconds >= 0 AND seconds < 'Infinity'", name="seconds_range"),
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    _timestamp("started_at", nullable=False, default_now=True),
    _timestamp("heartbeat_at", nullable=False, default_now=True),
)

versions = Table(
    "versions",
    metadata,
    # A trigger in the migration refuses every UPDATE but of the two timestamps below, and every DELETE.
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("architecture", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("parent", Integer, ForeignKey("versions.version")),
    Column("horizon", Integer, nullable=False),
    Column("context_length", Integer, nullable=False),
    Column("trained_on", JSONB, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("decision", Text, nullable=False),
    Column("artifact_sha256", Text, nullable=False),
    Column("artifact_bytes", BigInteger, nullable=False),
    _timestamp("artifact_removed_at"),
    _timestamp("last_used_at", nullable=False, default_now=True),
    # The unique job makes a publication tried twice one version, not two. Not a foreign key: jobs are deleted after a time.
    Column("job_id", Uuid, nullable=False, unique=True),
    _timestamp("created_at", nullable=False, default_now=True),
    CheckConstraint("version >= 1", name="version_range"),
    CheckConstraint("kind IN ('train', 'update')", name="kind"),
    CheckConstraint("horizon >= 1 AND context_length >= 1", name="lengths"),
    CheckConstraint("artifact_sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
    CheckConstraint("parent < version", name="parent_before"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("version", Integer, ForeignKey("versions.version"), nullable=False),
    CheckConstraint("alias IN ('champion', 'challenger')", name="alias"),
)

promotions = Table(
    "promotions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("version", Integer, ForeignKey("versions.version"), nullable=False),
    Column("previous", Integer, ForeignKey("versions.version")),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("key_id", Integer, ForeignKey("api_keys.id", ondelete="SET NULL")),
    Column(
        "rolled_back",
        Boolean,
        nullable=False,
        server_default="false",
        comment="left by a roll-back; skipped by the next",
    ),
    _timestamp("promoted_at", nullable=False, default_now=True),
    CheckConstraint("kind IN ('merit', 'request', 'rollback')", name="kind"),
)

forecasts = Table(
    "forecasts",
    metadata,
    Column("series_id", Integer, ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True, comment="0: a simple method answered"),
    Column("series_revision", BigInteger, nullable=False),
    Column("calendar_revision", BigInteger, nullable=False),
    Column("cutoff", Date, nullable=False),
    Column("horizon", Integer, nullable=False),
    Column("means", LargeBinary, nullable=False, comment="float32, one a day"),
    Column("quantiles", LargeBinary, nullable=False, comment="float32, days x the version's levels"),
    Column("fallback", JSONB, comment="method, reason, detail when no network answered"),
    _timestamp("generated_at", nullable=False, default_now=True),
    Column(
        "missing_covariates",
        JSONB,
        comment="by name of a covariate, the first day ahead whose value is not known, from 1",
    ),
    Column("held_out", JSONB, comment="date, quantity and reason of the days in quarantine that were left out"),
    CheckConstraint("octet_length(means) = 4 * horizon", name="means_length"),
)

issuances = Table(
    "issuances",
    metadata,
    Column("cutoff", Date, primary_key=True, comment="newest day that the forecasts had seen; one issue a day"),
    Column("job_id", Uuid, nullable=False, unique=True, comment="the update that issued: its rows in `issued` count"),
    Column("version", Integer, ForeignKey("versions.version"), comment="what the update made; null: nothing new"),
    Column(
        "champion", Integer, ForeignKey("versions.version"), nullable=False, comment="what callers read from then on"
    ),
    Column("horizon", Integer, nullable=False),
    _timestamp("issued_at", nullable=False, default_now=True),
    CheckConstraint("horizon >= 1", name="horizon_range"),
)

issued = Table(
    "issued",
    metadata,
    # Arrays of up to 512 series, day ahead first: what was said of one day is one piece of each, read without the rest, so they
    # are stored uncompressed. A row counts once `issuances` names its job: a job that was lost leaves rows that nobody reads.
    Column("job_id", Uuid, primary_key=True),
    Column("block", Integer, primary_key=True, autoincrement=False, comment="series id / 512"),
    Column("series_ids", ARRAY(Integer), nullable=False),
    Column("scales", LargeBinary, nullable=False, comment="float32 a series: unit of `trained` and `lineage`"),
    Column("trained", LargeBinary, nullable=False, comment="float16, days x series x levels: the networks as trained"),
    Column("lineage", LargeBinary, comment="the same of their lineage"),
    Column("candidate", LargeBinary, comment="float32, days x series x (mean, 9 levels): of the update's version"),
    Column("champion", LargeBinary, comment="the same of the champion before it, where that differs"),
    Column("frozen", LargeBinary, nullable=False, comment="the same of the networks as trained, without any update"),
)

scored_days = Table(
    "scored_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("job_id", Uuid, nullable=False, comment="whose rows in `series_scores` count"),
)

scores = Table(
    "scores",
    metadata,
    Column("day", Date, ForeignKey("scored_days.day", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("segment", Text, primary_key=True),
    Column("stretch", Text, primary_key=True, comment="days ahead, such as 1-7"),
    Column(
        "sums",
        ARRAY(Double),
        nullable=False,
        comment="of all series of the segment, in the order of models/online/scoring",
    ),
    CheckConstraint(
        "source IN ('live', 'frozen', 'seasonal_naive', 'lineage', 'lineage_frozen', 'lineage_live')", name="source"
    ),
)

series_scores = Table(
    "series_scores",
    metadata,
    Column("block", Integer, primary_key=True, autoincrement=False, comment="series id / 512"),
    Column("day", Date, primary_key=True, comment="the first of its days"),
    Column("job_id", Uuid, primary_key=True),
    Column("days", SmallInteger, nullable=False, server_default="1", comment="1, or 7 once a week was put together"),
    Column("series_ids", ARRAY(Integer), nullable=False),
    Column(
        "sums",
        LargeBinary,
        nullable=False,
        comment="number of stretches in a byte, then zstd of float32, series x sources x stretches x sums",
    ),
    CheckConstraint("days IN (1, 7)", name="days"),
)

drifts = Table(
    "drifts",
    metadata,
    # The key is the number by which pages go on: they are few, and those of segments have no series.
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("scope", Text, nullable=False),
    Column("series_id", Integer, ForeignKey("series.id", ondelete="CASCADE")),
    Column("segment", Text),
    Column("found_on", Date, nullable=False, comment="day of sales that brought it to light"),
    Column("since", Date, nullable=False, comment="day from which on it was worse"),
    Column(
        "size",
        Double,
        nullable=False,
        comment="loss less the seasonal naive's, since then against before, in seasonal errors",
    ),
    Column("percent", Double, comment="the same in percent of the loss before"),
    Column("action", Text, comment="what it set off; null: nothing"),
    Column("job_id", Uuid, nullable=False, comment="the update that found it"),
    _timestamp("created_at", nullable=False, default_now=True),
    CheckConstraint(
        "(scope = 'series' AND series_id IS NOT NULL AND segment IS NULL)"
        " OR (scope = 'segment' AND series_id IS NULL AND segment IS NOT NULL)",
        name="scope",
    ),
    CheckConstraint("segment IN ('fast', 'slow', 'intermittent')", name="segment"),
    CheckConstraint("action IN ('fine_tuning', 'retraining')", name="action"),
    CheckConstraint("since <= found_on", name="since_before"),
    UniqueConstraint("series_id", "found_on"),
    UniqueConstraint("segment", "found_on"),
    Index(None, "scope", "found_on"),
    Index(None, "job_id"),
)

drift_states = Table(
    "drift_states",
    metadata,
    Column("job_id", Uuid, primary_key=True, comment="counts while it scored the newest scored day"),
    Column("block", Integer, primary_key=True, autoincrement=False, comment="series id / 512; -1: the segments"),
    Column("series_ids", ARRAY(Integer), nullable=False),
    Column("state", LargeBinary, nullable=False, comment="zstd of float32, columns of models/online/drift x series"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("version", Integer, ForeignKey("versions.version"), primary_key=True, autoincrement=False),
    Column("against", Integer, ForeignKey("versions.version"), comment="the champion it was judged against"),
    Column("accepted", Boolean, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("checks", JSONB, nullable=False),
    Column("days", Integer, nullable=False, comment="target days of live forecasts that it was judged by"),
    _timestamp("decided_at", nullable=False, default_now=True),
    CheckConstraint("days >= 0", name="days_range"),
)

quarantine = Table(
    "quarantine",
    metadata,
    # The key is the number by which people decide, not the series: entries are few.
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("series_id", Integer, ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("day", Date, nullable=False),
    Column("post_id", BigInteger, nullable=False, comment="the post that wrote this quantity"),
    Column("quantity", Double, nullable=False, comment="as posted"),
    Column("expected", Double, comment="what such a day usually sells; null: not known"),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False, comment="the reason in a sentence"),
    Column("status", Text, nullable=False, server_default="held"),
    _timestamp("created_at", nullable=False, default_now=True),
    _timestamp("decided_at"),
    Column("key_id", Integer, ForeignKey("api_keys.id", ondelete="SET NULL"), comment="whose decision it was"),
    _finite("quantity"),
    _finite("expected"),
    CheckConstraint("reason IN ('factor', 'units', 'repeated', 'zeros')", name="reason"),
    CheckConstraint("status IN ('held', 'confirmed', 'dismissed', 'replaced')", name="status"),
    CheckConstraint("status NOT IN ('confirmed', 'dismissed') OR decided_at IS NOT NULL", name="decided_when"),
    # One entry at most holds a day; every read of sales for a forecast looks into this index.
    Index(
        "ix_quarantine_holding",
        "series_id",
        "day",
        unique=True,
        postgresql_where=text("status IN ('held', 'dismissed')"),
    ),
    Index(None, "series_id", "day"),
    Index(None, "post_id"),
    Index(None, "status", "id"),
    Index(None, "decided_at"),
)
