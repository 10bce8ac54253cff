"""The table of a file's peers, written anew from its lines of JSON: one part a block of windows, each peer's newest line."""

import json
from pathlib import Path
from typing import Any

REPORTED = "Reported windows"
EXPLAINED = "As forecast / in whole units; shelfcast's second figure is its answer, in whole units where it says so."


def write_table(lines: Path) -> Path:
    """`peers_FILE.md` beside `peers_FILE.jsonl`."""
    rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    table = lines.with_suffix(".md")
    table.write_text(rendered(rows), encoding="utf-8")
    return table


def rendered(rows: list[dict[str, Any]]) -> str:
    blocks: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        blocks.setdefault(block(row), {})[label(row)] = row
    names = sorted(blocks, key=lambda name: (not name.startswith(REPORTED), name))
    parts = [f"# Peers on `{rows[0]['data']}`\n", *(part(name, list(blocks[name].values())) for name in names)]
    return "\n".join(parts) + "\n"


def block(row: dict[str, Any]) -> str:
    ends = f"Windows that end {row['end']}" if row["end"] else REPORTED
    return (
        f"{ends}: horizon {row['horizon']}, {row['windows']} windows, step {row['step']}, seed {row['seed']}, "
        f"covariates {row['covariates'] or 'none'}, country {row['country'] or 'none'}"
        + (f", repeated to {row['series']:,} series" if row.get("series") else "")
    )


def label(row: dict[str, Any]) -> str:
    """The peer, and out of how many trials its settings are the best."""
    return row["peer"] + (f", best of {row['trials']['trials']}" if row.get("trials") else "")


def training(row: dict[str, Any]) -> str:
    """Seconds of the training; those of all trials beside it."""
    trials = f" (trials {row['trials']['seconds']} s)" if row.get("trials") else ""
    return f"{row['train_seconds']} s{trials}"


def part(name: str, rows: list[dict[str, Any]]) -> str:
    """Every figure twice where rounding changes it: as forecast / in whole units."""
    head = ["peer", "MASE", "SQL", "WAPE", "WQL", "bias", "0.1 … 0.9 covers", "trained", "training", "prediction",
            "series/s", "memory", "when, where"]  # fmt: skip
    out = [f"## {name}\n", f"{EXPLAINED}\n", _row(head), _row(["---"] * len(head))]
    for row in sorted(rows, key=lambda r: r["metrics"]["sql"]):
        both = [_both(row, key) for key in ("mase", "sql", "wape", "wql")]
        versions = ", ".join(f"{k} {v}" for k, v in row["versions"].items())
        costs = [row["trained"], training(row), f"{row['predict_seconds']} s",
                 f"{row['series_per_second']:,.0f}", f"{row['peak_memory_mb']:,} MB"]  # fmt: skip
        where = f"{row['date'][:16]} UTC, {row['machine']}, {versions}, {row['commit']}"
        out.append(_row([label(row), *both, f"{100 * row['metrics']['bias']:+.1f} %", _covers(row), *costs, where]))
    return "\n".join(out) + "\n"


def _both(row: dict[str, Any], key: str) -> str:
    return f"{row['metrics'][key]:.4f} / {row['metrics_whole'][key]:.4f}"


def _covers(row: dict[str, Any]) -> str:
    """The share of days at or below 0.9 less the share below 0.1; 80 % or more is meant."""
    scores = row["metrics"]
    return f"{100 * (scores['coverage']['0.9'] - scores['below']['0.1']):.0f} %"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
