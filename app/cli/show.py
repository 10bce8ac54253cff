"""What the command line shows: tables of lists, metrics beside the baselines', verdicts, sales and forecast as a plot in
characters."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console()
METRICS = ("wql", "sql", "mase", "wape", "mae", "mse", "bias")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str = "") -> None:
    """A list of objects, one line each."""
    shown = Table(title=title or None, title_justify="left")
    for column in columns:
        shown.add_column(column)
    for row in rows:
        shown.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(shown)


def metrics(model: Mapping[str, Any]) -> None:
    """A version's metrics with each baseline's on the same windows."""
    found: Mapping[str, Any] = model["metrics"]
    title = f"version {model['version']} ({model['architecture']}) on held-out windows"
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 1))  # fits a terminal of 80 columns
    shown.add_column("", no_wrap=True)
    rows = {name: values for name, values in found.items() if name != "compressed"}
    scored = {name: values for name, values in rows.items() if isinstance(values, Mapping) and "wql" in values}
    names = [metric for metric in METRICS if any(metric in values for values in scored.values())]
    for name in names:
        shown.add_column(name.upper(), justify="right")
    for source, values in scored.items():
        label = model["architecture"] if source == "model" else source.replace("_", " ")
        shown.add_row(label, *(_score(values.get(name)) for name in names))
    console.print(shown)
    if note := found.get("note"):
        console.print(note)
    console.print(model["decision"])


def verdict(found: Mapping[str, Any]) -> None:
    """What the gate said of a version: the sentence, then every check."""
    console.print(found["sentence"])
    words = {True: "passed", False: "failed", None: "undecided"}
    rows = [check | {"result": words[check["passed"]]} for check in found["checks"]]
    against = "" if found["against"] is None else f" against version {found['against']}"
    table(rows, ["name", "result", "value", "limit", "detail"], title=f"version {found['version']}{against}")


def accuracy(found: Mapping[str, Any]) -> None:
    """What was forecast at each horizon against what came, beside the baseline and the networks without any update."""
    if found["horizons"][-1]["n"] == 0:
        console.print("No forecast of these days has been scored.")
        return
    names, levels = ("wape", "wql", "mase", "bias"), ("0.1", "0.5", "0.9")
    rows = []
    for parts in zip(found["horizons"], found["baseline"], found["frozen"], strict=True):
        for source, part in zip(("forecast", "seasonal naive", "frozen"), parts, strict=True):
            covered = [_score(part["coverage"][level]) for level in levels]
            rows.append([part["days"], source, f"{part['n']:,}", *(_score(part[name]) for name in names), *covered])
    columns = ["days", "", "n", *(name.upper() for name in names), *(f"≤ {level}" for level in levels)]
    _scores(f"{found['from']} to {found['to']}", columns, rows)


def drifts(found: Sequence[Mapping[str, Any]]) -> None:
    """What became worse, since when and by how much."""
    if not found:
        console.print("No drift was found.")
        return
    table(found, ["scope", "sku", "location", "segment", "found_on", "since", "size", "percent", "action"])


def tuning(found: Mapping[str, Any]) -> None:
    """What trials found: the best values, and how much each field mattered where that can be told."""
    mattered: Mapping[str, float] = found["importance"] or {}
    tried = found["complete"] + found["pruned"] + found["failed"]
    title = f"{tried} of {found['trials']} trials, {found['complete']} to their end"
    fields = sorted(found["best"], key=lambda name: -mattered.get(name, 0.0))
    rows = [[name, f"{found['best'][name]:g}", f"{mattered[name]:.0%}" if mattered else "?"] for name in fields]
    _scores(title, ["", "best", "mattered"], rows)
    for note in found["notes"]:
        console.print(note)


def backtest(found: Mapping[str, Any]) -> None:
    """A backtest: all metrics overall, then the WQL of each segment, stretch of days ahead and window."""
    what = found["model"] if found["model_version"] is None else f"version {found['model_version']} ({found['model']})"
    overall: Mapping[str, Any] = found["overall"]["scores"]
    title = f"{what} over {len(found['windows'])} windows of {found['horizon']} days, {found['step']} apart"
    _scores(
        title,
        ["", *(name.upper() for name in METRICS)],
        [[_source(source, found), *(_score(values[name]) for name in METRICS)] for source, values in overall.items()],
    )
    parts = [(part["segment"], part) for part in found["segments"]]
    parts += [(f"days {part['days']}", part) for part in found["horizons"]]
    parts += [(f"from {part['cutoff']}" + " (twin)" * (part["weights"] == "twin"), part) for part in found["windows"]]
    _scores(
        "WQL",
        ["", "forecasts", *(_source(source, found) for source in overall)],
        [
            [name, str(part["forecasts"]), *(_score(part["scores"][source]["wql"]) for source in overall)]
            for name, part in parts
        ],
    )
    console.print(f"{found['outcome']} {found['note']}")


def _source(name: str, found: Mapping[str, Any]) -> str:
    return str(found["model"]) if name == "model" else name.replace("_", " ")


def _scores(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of figures that fits a terminal of 80 columns."""
    shown = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def forecast_table(forecast: Mapping[str, Any]) -> None:
    levels = list(forecast["forecast"][0]["quantiles"]) if forecast["forecast"] else []
    rows = [
        {"start": day["start"], "end": day["end"], "mean": day["mean"], **day["quantiles"]}
        for day in forecast["forecast"]
    ]
    source = f"version {forecast['model_version']}" if forecast["fallback"] is None else forecast["fallback"]["method"]
    title = f"{forecast['sku']} {forecast['location']} from {forecast['cutoff']} by {source}"
    table(rows, ["start", "end", "mean", *levels], title=title)
    if forecast["fallback"]:
        console.print(f"[yellow]{forecast['fallback']['detail']}[/]")
    if forecast["held_out"]:
        days = ", ".join(day["date"] for day in forecast["held_out"])
        console.print(f"[yellow]Made without days in quarantine: {days}. See `shelfcast quarantine list`.[/]")
    if forecast["missing_covariates"]:
        console.print(f"[yellow]Not known for these days: {', '.join(forecast['missing_covariates'])}.[/]")


def plot(sales: Sequence[Mapping[str, Any]], forecast: Mapping[str, Any], *, title: str, days: int = 56) -> None:
    """The last days of sales, then the median between the lowest and the highest level asked for."""
    import plotext

    ahead = forecast["forecast"]
    levels = sorted(ahead[0]["quantiles"], key=float)
    middle = min(levels, key=lambda level: abs(float(level) - 0.5))
    past = [row["quantity"] for row in sales][-days:]
    known = [(day - len(past) + 1, quantity) for day, quantity in enumerate(past) if quantity is not None]
    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(console.width, 110), 18)
    figure.title(title)
    figure.label(f"days from {forecast['cutoff']}")
    _curve([x for x, _ in known], [y for _, y in known], label="sales", marker="braille")
    x_ahead = list(range(1, len(ahead) + 1))
    for level, marker in ((levels[0], "dot"), (levels[-1], "dot"), (middle, "hd")):
        _curve(x_ahead, [step["quantiles"][level] for step in ahead], label=f"level {level}", marker=marker)
    figure.show(colorless=not console.is_terminal)


def _curve(x: Sequence[float], y: Sequence[float], *, label: str, marker: str) -> None:
    import plotext

    signal = plotext.figure.signal(list(x), list(y), marker=marker)
    signal.lines()
    signal.label(label)
    plotext.figure.draw(signal)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
