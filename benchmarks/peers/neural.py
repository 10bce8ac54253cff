"""Networks of neuralforecast: multi-quantile loss at the scored levels, trained once, on all series together.

They see the covariates their network takes (PatchTST none), texts as flags, the calendar and holidays as covariates
known ahead. Missing days are masked out of their training loss and stand filled in their inputs; missing values of
covariates hold the value before. They give no mean: the average of the levels stands for it, which understates the mean
where sales are sparse. A series with less than a fortnight of history is answered by the service's fallback.

Shapes: S series, T days, A days for which covariates are known, H horizon, Q quantile levels.
"""

import logging
import os
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.peers.data import Data
from benchmarks.peers.filled import filled_past, held, simple_forecast
from benchmarks.peers.task import Answer, Task
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.inference import answerable
from models.panel import Floats
from models.windows import calendar

INPUT_DAYS = 56
MOST_FLAGS = 20
SETTINGS: dict[str, Any] = {
    "input_size": INPUT_DAYS,
    "learning_rate": 1e-3,
    "batch_size": 64,
    "windows_batch_size": 512,
    "scaler_type": "standard",  # the robust default divides by a median deviation that is zero where sales are sparse
    "start_padding_enabled": True,
}
OWN: dict[str, dict[str, Any]] = {
    "LSTM": {"encoder_hidden_size": 64, "decoder_hidden_size": 64},
    "TFT": {
        "hidden_size": 32,
        "windows_batch_size": 128,
    },  # twelve seconds a step on one core with the others' settings
    "PatchTST": {"patch_len": 7, "stride": 7, "hidden_size": 64, "linear_hidden_size": 128},
    "TiDE": {"hidden_size": 128},
}

WIDTHS = {
    "LSTM": ("encoder_hidden_size", "decoder_hidden_size"),
    "TFT": ("hidden_size",),
    "PatchTST": ("hidden_size",),
    "TiDE": ("hidden_size",),
}
DROPOUTS = {"LSTM": "encoder_dropout", "NHITS": "dropout_prob_theta"}

Index = NDArray[np.int64]


def answer(model: str, task: Task) -> Answer:
    quieten()
    torch.set_num_threads(task.threads)
    import neuralforecast

    table = Table(task.data)
    started = time.perf_counter()
    network = build(model, table, task)
    engine = neuralforecast.NeuralForecast(models=[network], freq="D")
    learning = np.flatnonzero(answerable(task.data.panel, task.cutoffs[0]))
    engine.fit(df=table.past(learning, 0, task.cutoffs[0]), static_df=table.attributes(learning), val_size=0)
    trained = time.perf_counter()
    asked = arguments(model, task)
    read = 2 * asked["input_size"]
    forecasts = [forecast(engine, table, task, cutoff, read=read) for cutoff in task.cutoffs]
    ended = time.perf_counter()
    size = sum(p.numel() for p in network.parameters() if p.requires_grad)
    detail = {"steps": asked.pop("max_steps"), "settings": asked}
    return Answer(forecasts, "once", trained - started, ended - trained, size, detail)


def arguments(model: str, task: Task) -> dict[str, Any]:
    """What the network is built with besides data, seed and loss: as it stands, then the task's settings.

    Those may be arguments of all networks, or `width` and `dropout`, which each network calls by another name.
    """
    asked = dict(task.settings)
    width, dropout = asked.pop("width", None), asked.pop("dropout", None)
    if width is not None:
        asked |= dict.fromkeys(WIDTHS.get(model, ()), width)
        asked |= {"linear_hidden_size": 2 * width} if model == "PatchTST" else {}
        asked |= {"mlp_units": [[width, width]] * 3} if model == "NHITS" else {}
    if dropout is not None:
        asked[DROPOUTS.get(model, "dropout")] = dropout
    return {"max_steps": task.steps} | SETTINGS | OWN.get(model, {}) | asked


def quieten() -> None:
    """Progress and advice of the libraries beneath, which would bury the figures."""
    os.environ["NIXTLA_ID_AS_COL"] = "1"
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning|neuralforecast|utilsforecast)(\..*)?")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def build(model: str, table: "Table", task: Task) -> Any:
    """The network with the covariates it takes."""
    from neuralforecast import models as available
    from neuralforecast.losses.pytorch import MQLoss

    kind = getattr(available, model)
    covariates: dict[str, Any] = {}
    if kind.EXOGENOUS_FUTR:
        covariates["futr_exog_list"] = list(table.known)
    if kind.EXOGENOUS_HIST and table.observed:
        covariates["hist_exog_list"] = list(table.observed)
    if kind.EXOGENOUS_STAT and table.static:
        covariates["stat_exog_list"] = list(table.static)
    return kind(
        h=task.horizon, loss=MQLoss(quantiles=list(SCORED_LEVELS)), random_seed=task.seed,
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **covariates, **arguments(model, task),
    )  # fmt: skip


def forecast(engine: Any, table: "Table", task: Task, cutoff: int, *, read: int) -> Forecast:
    """From the last `read` days up to the cutoff."""
    panel = task.data.panel
    out = simple_forecast(panel, cutoff, task.horizon)
    series = np.flatnonzero(answerable(panel, cutoff))
    found = engine.predict(
        df=table.past(series, cutoff - read + 1, cutoff),
        static_df=table.attributes(series),
        futr_df=table.ahead(series, cutoff, task.horizon),
    ).sort_values(["unique_id", "ds"])
    columns = [c for c in found.columns if c not in ("unique_id", "ds")]
    if len(columns) != len(SCORED_LEVELS):
        raise ValueError(f"{len(SCORED_LEVELS)} levels were asked for, and the answer has {columns}.")
    quantiles_SHQ = found[columns].to_numpy(np.float32).reshape(len(series), task.horizon, -1)
    out.quantiles_SHQ[series] = np.maximum(np.sort(quantiles_SHQ, axis=-1), 0)
    out.mean_SH[series] = out.quantiles_SHQ[series].mean(axis=-1)
    return out


class Table:
    """A file's data as the long tables that neuralforecast reads; `unique_id` is the series' number."""

    def __init__(self, data: Data) -> None:
        panel = data.panel
        self.panel = panel
        width = len(data.holiday_T)
        known = {name: panel.known[name] for name in data.known}
        self.known = _columns(known, data.texts) | _calendar(data, width)
        self.observed = _columns({name: panel.past[name] for name in data.past}, data.texts)
        self.static = {
            f"{name}={code}": (code_S == code).astype(np.float32)
            for name, code_S in data.static.items() for code in np.unique(code_S)
        }  # fmt: skip

    def past(self, series: Index, first: int, last: int) -> pd.DataFrame:
        """Days `first` … `last` of some series, from each one's first observed day on."""
        filled_ST = filled_past(self.panel, last)
        begin = max(first, 0)
        row_N, day_N = np.nonzero(np.isfinite(filled_ST[series, begin:]))
        series_N, day_N = series[row_N], day_N + begin
        columns = {
            "y": filled_ST[series_N, day_N],
            "available_mask": np.isfinite(self.panel.quantity_ST[series_N, day_N]).astype(np.float32),
        }
        for name, values_SA in (self.known | self.observed).items():
            columns[name] = held(values_SA, last)[series_N, day_N]
        return self._frame(series_N, day_N, columns)

    def ahead(self, series: Index, cutoff: int, horizon: int) -> pd.DataFrame:
        series_N = np.repeat(series, horizon)
        day_N = np.tile(cutoff + np.arange(1, horizon + 1), len(series))
        last = cutoff + horizon
        return self._frame(series_N, day_N, {n: held(v, last)[series_N, day_N] for n, v in self.known.items()})

    def attributes(self, series: Index) -> pd.DataFrame | None:
        if not self.static:
            return None
        return pd.DataFrame({"unique_id": series} | {name: values_S[series] for name, values_S in self.static.items()})

    def _frame(self, series_N: Index, day_N: Index, columns: dict[str, Floats]) -> pd.DataFrame:
        day = (self.panel.start.astype("datetime64[D]") + day_N).astype("datetime64[ns]")
        return pd.DataFrame({"unique_id": series_N, "ds": day} | columns)


def _columns(values: dict[str, Floats], texts: frozenset[str]) -> dict[str, Floats]:
    """Numbers as they are, texts as a flag for each of their first values."""
    out: dict[str, Floats] = {}
    for name, values_SA in values.items():
        if name not in texts:
            out[name] = values_SA
            continue
        codes = np.unique(values_SA[values_SA > 0])[:MOST_FLAGS]
        out |= {f"{name}={int(code)}": (values_SA == code).astype(np.float32) for code in codes}
    return out


def _calendar(data: Data, width: int) -> dict[str, Floats]:
    """Weekday, day of month and season as the service's networks see them, and holidays, the same for all series."""
    table_TC = calendar(data.panel.start, first=0, last=width - 1)
    columns = {f"calendar {i}": table_TC[:, i] for i in range(table_TC.shape[1])}
    if data.holiday_T.any():
        columns["holiday"] = (data.holiday_T > 0).astype(np.float32)
    return {name: np.broadcast_to(values_T, (data.panel.series, width)) for name, values_T in columns.items()}
