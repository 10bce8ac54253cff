"""Every setting of the service, read from the environment here and nowhere else.

Each has a type, a default and one line of meaning with its unit. `python -m app.config` writes them as the table that
docs/operations.md holds; a test keeps the two equal.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from limits import parse
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one process, from variables named SHELFCAST_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="SHELFCAST_", frozen=True, extra="ignore")

    home: Path = Field(
        Path(".shelfcast"),
        description="Folder of all that the service keeps on disk: embedded Postgres, artifacts, spool, admin key.",
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that the API listens on; 0 takes a free one.")
    database_url: SecretStr | None = Field(
        None,
        description="URL of a Postgres from 15 on (postgresql://user:password@host/name); unset: embedded Postgres.",
    )
    artifacts: str | None = Field(
        None, description="Folder or fsspec URL of trained weights; unset: $SHELFCAST_HOME/artifacts."
    )
    pool_size: int = Field(10, ge=1, le=200, description="Database connections a process keeps at most.")
    pool_timeout_seconds: float = Field(
        5, gt=0, description="Seconds a request waits for a connection before it is answered 503."
    )
    statement_timeout_seconds: float = Field(
        60,
        gt=0,
        description="Seconds an ordinary statement may take; bulk writes have no limit but the request's.",
    )
    request_timeout_seconds: float = Field(
        900,
        gt=0,
        description="Seconds a request may take before it is answered 503; uploads and bulk forecasts are requests too.",
    )
    max_json_bytes: int = Field(32 * 2**20, ge=1024, description="Bytes a JSON body may have, decoded.")
    max_json_rows: int = Field(50_000, ge=1, description="Rows a JSON body may have.")
    max_upload_bytes: int = Field(2 * 2**30, ge=1024, description="Bytes a file body may have as sent.")
    max_decoded_bytes: int = Field(8 * 2**30, ge=1024, description="Bytes a file body may have once decompressed.")
    rate_limit: Annotated[str | None, NoDecode] = Field(
        None, description='Requests a key may make, such as "100/second" or "5000/minute"; unset: no limit.'
    )
    metrics_open: bool = Field(False, description="Whether /metrics answers without a key.")
    key_cache_seconds: float = Field(
        2,
        ge=0,
        le=5,
        description="Seconds a checked key is remembered; a revoked key dies after that at the latest.",
    )
    idempotency_hours: float = Field(24, gt=0, description="Hours an answer is kept for its Idempotency-Key.")
    country: str | None = Field(
        None,
        description="Country whose public holidays hold where a location has none, such as DE, or DE-BY for a part of it; "
        "unset: unknown. Applies to all processes once the API starts with it.",
    )
    heartbeat_seconds: float = Field(5, gt=0, description="Seconds between two signs of life of a running job.")
    lease_seconds: float = Field(
        30, gt=0, description="Seconds without a sign of life after which another worker takes the job over."
    )
    poll_seconds: float = Field(2, gt=0, description="Seconds between two looks of an idle worker at the queue.")
    ready_child: bool = Field(
        True,
        description="Whether an idle worker keeps a process ready for its next job, which then begins seconds earlier, for some"
        " 300 MB of memory.",
    )
    max_attempts: int = Field(3, ge=1, description="Times a job is tried when its lease or the database was lost.")
    retry_seconds: float = Field(5, ge=0, description="Seconds before the first retry of a job; doubled each time.")
    job_days: float = Field(30, gt=0, description="Days a finished job is kept.")
    artifact_days: float = Field(90, gt=0, description="Days an unused version keeps its artifact.")
    update_levels: bool = Field(
        True, description="L1: whether updates bring a series' past to its present level before networks read it."
    )
    update_weights: bool = Field(True, description="L1: whether updates learn how much the lineage counts, per series.")
    update_quantiles: bool = Field(True, description="L2: whether updates track quantiles, per series.")
    update_fine_tuning: bool = Field(
        True, description="L3: whether updates train the networks' lineage on, once a week of days has come in."
    )
    gate_loss_percent: float = Field(
        0.3,
        description="Percent that an update's live loss may be above that of the networks as trained, and above that of what "
        "callers read, over all series.",
    )
    gate_segment_percent: float = Field(2.0, description="The same in each segment of series.")
    gate_replay_percent: float = Field(
        1.0, description="Percent that an update's WQL may be above the champion's on recent cutoffs."
    )
    gate_bias_points: float = Field(
        3.0, description="Points of all sales that an update's bias may differ from the champion's."
    )
    gate_coverage_points: float = Field(2.0, description="Points by which an update may miss a level further.")
    gate_moved_percent: float = Field(
        15.0, description="Percent of their level that forecasts may move from the champion's by one update."
    )
    gate_older_percent: float = Field(
        3.0, description="Percent that its WQL may be above the champion's on cutoffs of two months ago."
    )
    gate_weights_percent: float = Field(
        12.0, gt=0, description="Percent of their length that the lineage's weights may move by in a week."
    )
    gate_times_maximum: float = Field(
        3.0, gt=1, description="Times the most that a series sold in a year that neither sales nor forecasts exceed."
    )
    gate_shocked_percent: float = Field(
        6.0, description="Percent of the series whose newest days may exceed that all the same."
    )
    gate_above_maximum_share: float = Field(
        0.001, ge=0, le=1, description="Share of the series whose forecasts may exceed it."
    )
    gate_near_days: int = Field(
        56, ge=28, le=182, description="Target days that decide the live loss of 1 to 7 days ahead."
    )
    gate_far_days: int = Field(
        112,
        ge=56,
        le=182,
        description="Target days that decide the live loss of 8 and more days ahead, and that beside what callers read.",
    )
    rollback_percent: float = Field(
        1.0,
        ge=0,
        description="Percent that the champion's live loss must be above that of the networks as trained, beyond doubt, "
        "for it to go back to them by itself: over the newest four times SHELFCAST_ROLLBACK_DAYS, the double over one time.",
    )
    rollback_days: int = Field(28, ge=28, description="Days of live forecasts that such a roll-back needs at least.")
    drift_acts: bool = Field(
        True, description="Whether drift makes an update learn on at once, and brings retraining forward."
    )
    drift_series_percent: float = Field(
        5.0,
        gt=0,
        le=100,
        description="Percent of the series that must drift within 7 days for an update to learn on at once.",
    )
    training_threads: int = Field(
        1, ge=1, description="CPU threads a training child uses; one core is left to the API by default."
    )
    device: str = Field(
        "auto",
        description="Where networks learn and answer: auto (a GPU when there is one), cpu, cuda, or cuda:1 for the second GPU.",
    )
    refresh: bool = Field(True, description="Whether the worker recomputes forecasts that are no longer fresh.")
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="Least severe level that is logged: debug, info, warning, error, critical."
    )
    shutdown_seconds: float = Field(
        10,
        gt=0,
        le=12,
        description="Seconds that accepted requests get to finish once the service is asked to stop.",
    )

    @field_validator("database_url", "artifacts", "rate_limit", "country", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("rate_limit")
    @classmethod
    def _rate_is_readable(cls, value: str | None) -> str | None:
        if value is not None:
            parse(value)  # its error says what it wants
        return value

    @field_validator("country")
    @classmethod
    def _country_has_holidays(cls, value: str | None) -> str | None:
        if value is not None:
            from models.holidays import place_of

            place_of(value)  # its error names the code
        return value

    @field_validator("device")
    @classmethod
    def _device_is_there(cls, value: str) -> str:
        if value not in ("auto", "cpu"):  # PyTorch, which takes a second to load, is not needed to believe these
            from models.placement import device_named

            device_named(value)  # its error says what there is
        return value

    @property
    def artifacts_location(self) -> str:
        return self.artifacts or str(self.home.absolute() / "artifacts")

    @property
    def speeds(self) -> dict[str, bool]:
        """Which speeds updates take, by the engine's names."""
        return {name: getattr(self, f"update_{name}") for name in ("levels", "weights", "quantiles", "fine_tuning")}

    @property
    def gate_limits(self) -> dict[str, float]:
        """What an update must keep within, by the engine's names."""
        names = [name for name in type(self).model_fields if name.startswith("gate_")]
        return {name.removeprefix("gate_"): getattr(self, name) for name in names}

    @property
    def kept_sales_file(self) -> Path:
        """The copy of recent sales that spares daily updates to read them all."""
        return self.home.absolute() / "kept" / "sales.bin"

    @property
    def drift_rule(self) -> dict[str, Any]:
        """When an update learns on because of drift, by the room's names."""
        return {"acts": self.drift_acts, "series_percent": self.drift_series_percent}

    @property
    def spool_folder(self) -> Path:
        return self.home.absolute() / "spool"

    @property
    def admin_key_file(self) -> Path:
        return self.home.absolute() / "admin.key"


class ClientSettings(BaseSettings):
    """What the command line needs to reach a running service, from variables named SHELFCAST_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="SHELFCAST_", frozen=True, extra="ignore")

    home: Path = Field(Path(".shelfcast"), description="Folder whose admin.key is used when no key is given.")
    host: str = Field("127.0.0.1", description="Address of the service when no URL is given.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the service when no URL is given.")
    url: str | None = Field(None, description="URL of the service that the command line talks to.")
    key: SecretStr | None = Field(
        None, description="Key that the command line sends; unset: $SHELFCAST_HOME/admin.key."
    )

    @property
    def base_url(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def loads_folder(self) -> Path:
        return self.home.absolute() / "loads"

    def read_key(self) -> str | None:
        if self.key is not None:
            return self.key.get_secret_value()
        file = self.home.absolute() / "admin.key"
        return file.read_text().strip() if file.exists() else None


def settings_table() -> str:
    """Every setting of service and client as a Markdown table."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    seen: set[str] = set()
    for settings in (Settings, ClientSettings):
        for name, field in settings.model_fields.items():
            if name not in seen:
                seen.add(name)
                default = "unset" if field.default is None else f"`{field.default}`"
                rows.append(f"| `SHELFCAST_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(settings_table())  # noqa: T201 - what this command is for
