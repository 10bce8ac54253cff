"""The lines of JSON of replays as Markdown tables: python -m benchmarks.updates.table results/updates.jsonl"""

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ("policy", "WQL", "SQL", "against frozen: WQL %", "SQL %", "days 1-7", "8-14", "15-28", "MASE", "bias",
           "covered 0.1 / 0.9", "churn", "update s", "training s")  # fmt: skip


def main(argv: list[str]) -> int:
    for line in Path(argv[0]).read_text().splitlines():
        print(table(json.loads(line)))
    return 0


def table(found: dict[str, Any]) -> str:
    """One file's policies: figures of all days ahead, then SQL of each stretch against frozen in percent."""
    policies = found["policies"]
    frozen = policies["frozen"]["by_days"]
    rows = [[name, *_row(one, frozen)] for name, one in policies.items()]
    what = f"**`{found['data']}`, {found['model']}, {found['days']} days, {found['seeds']} seeds**"
    when = f"{found['date']}, commit {found['commit']}, {found['machine']}"
    head = [f"{what}, {when}", "", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows), ""])


def _row(one: dict[str, Any], frozen: dict[str, Any]) -> list[str]:
    figures, against = one["figures"], one["against_frozen"]
    compared = [
        f"{against[m]['percent']:+.2f} ({against[m]['low']:+.2f} … {against[m]['high']:+.2f})" for m in ("wql", "sql")
    ]
    stretches = [f"{100 * (part['sql'] / frozen[days]['sql'] - 1):+.2f}" for days, part in one["by_days"].items()]
    return [
        f"{figures['wql']:.4f}",
        f"{figures['sql']:.4f}",
        *compared,
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
