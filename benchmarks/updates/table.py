"""The lines of JSON of replays as Markdown tables: python -m benchmarks.updates.table results/updates.jsonl"""

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("policy", "WQL", "SQL", "against frozen: WQL %", "SQL %", "days 1-7", "8-14", "15-28", "MASE", "bias",
           "covered 0.1 / 0.9", "churn", "update s", "training s")  # fmt: skip
WEEKLY_COLUMNS = ("policy", "WQL", "SQL", "against frozen: WQL %", "SQL %", "against weekly: WQL %", "SQL %", "churn",
                  "compute of weekly retraining's")  # fmt: skip


def main(argv: list[str]) -> int:
    for line in Path(argv[0]).read_text().splitlines():
        print(table(json.loads(line)))
    return 0


def table(found: dict[str, Any]) -> str:
    """One file's policies: figures of all days ahead, SQL of each stretch against frozen in percent; then the same beside weekly
    retraining on its cutoffs."""
    what = f"**`{found['data']}`, {found['model']}, {found['days']} days, {found['seeds']} seeds**"
    lines = [f"{what}, {found['date']}, commit {found['commit']}, {found['machine']}", "", *_rows(found["policies"])]
    if last := found.get("last"):
        lines += [
            f"On its last {last['cutoffs']} cutoffs, beside weekly retraining:",
            "",
            *_beside_weekly(last["policies"]),
        ]
    return "\n".join(lines)


def _rows(policies: dict[str, Any]) -> list[str]:
    frozen = policies["frozen"]["by_days"]
    rows = [[name, *_row(one, frozen)] for name, one in policies.items()]
    return _markdown(COLUMNS, rows)


def _beside_weekly(policies: dict[str, Any]) -> list[str]:
    training = policies["retraining 7"]["training_seconds"]
    rows = []
    for name, one in policies.items():
        figures, seconds = one["figures"], one["update_seconds"] + one["training_seconds"]
        percent = [_percent(one[f"against_{which}"][m]) for which in ("frozen", "weekly") for m in ("wql", "sql")]
        share = f"{100 * seconds / training:.1f} %"
        rows.append(
            [name, f"{figures['wql']:.4f}", f"{figures['sql']:.4f}", *percent, f"{100 * figures['churn']:.1f} %", share]
        )
    return _markdown(WEEKLY_COLUMNS, rows)


def _markdown(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    cells = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *cells, ""]


def _percent(found: dict[str, float]) -> str:
    return f"{found['percent']:+.2f} ({found['low']:+.2f} … {found['high']:+.2f})"


def _row(one: dict[str, Any], frozen: dict[str, Any]) -> list[str]:
    figures, against = one["figures"], one["against_frozen"]
    stretches = [f"{100 * (part['sql'] / frozen[days]['sql'] - 1):+.2f}" for days, part in one["by_days"].items()]
    return [
        f"{figures['wql']:.4f}",
        f"{figures['sql']:.4f}",
        _percent(against["wql"]),
        _percent(against["sql"]),
        *stretches,
        f"{figures['mase']:.4f}",
        f"{100 * figures['bias']:+.1f} %",
        f"{figures['coverage_10']:.3f} / {figures['coverage_90']:.3f}",
        f"{100 * figures['churn']:.1f} %",
        f"{one['update_seconds']:.0f}",
        f"{one['training_seconds']:.0f}",
    ]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
