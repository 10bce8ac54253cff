"""When a champion would have gone back by itself, on replays of `python -m benchmarks.updates --work FOLDER`:

    python -m benchmarks.going_back FOLDER

Every day of a year the roll-back's rule (gate.beyond_doubt) looks at what updates had lost by then and the networks as trained.
Honest updates must stay. Then the loss of L3 is raised from a day on: how many days later the rule notices, and how many it would
take if all days since the first update were looked at together. Results go to results/going_back.json.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.config import Settings
from benchmarks.updates.losses import Losses
from models.online.gate import ROLL_BACK_BLOCK, beyond_doubt, interval

Doubles = NDArray[np.float64]
POLICIES = ("L1", "L2", "L3", "L4")
RAISED = ((100, 0.05), (200, 0.05), (100, 0.1), (200, 0.1))
"""After so many days the loss is raised by such a share."""
PERCENT, DAYS = (Settings.model_fields[name].default for name in ("rollback_percent", "rollback_days"))
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    folders = sorted(file.parent for file in parser.parse_args().work.glob("*/frozen.npz"))
    result = {
        "date": f"{datetime.now(UTC):%F %R} UTC",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "percent": PERCENT,
        "days": DAYS,
        "replays": {folder.name: measured(folder) for folder in folders},
    }
    print(json.dumps(result, indent=2))
    (RESULTS / "going_back.json").write_text(json.dumps(result, indent=2) + "\n")


def measured(folder: Path) -> dict[str, object]:
    """Of one replay: the days on which honest updates would have gone back, and how soon worse ones do, None: not within it."""
    frozen_T, *honest = (by_day(Losses.load(folder / f"{name}.npz")) for name in ("frozen", *POLICIES))
    found: dict[str, object] = {
        "honest, days gone back": {
            name: sum(goes_back(live_T[:end], frozen_T[:end]) for end in range(1, len(live_T) + 1))
            for name, live_T in zip(POLICIES, honest, strict=True)
        }
    }
    good_T = honest[POLICIES.index("L3")]
    for day, share in RAISED:
        worse_T = np.concatenate([good_T[:day], good_T[day:] * (1 + share)])
        ends = range(day + 1, len(worse_T) + 1)
        found[f"{100 * share:.0f} % worse after {day} days"] = {
            name: next((end - day for end in ends if rule(worse_T[:end], frozen_T[:end])), None)
            for name, rule in (("noticed after", goes_back), ("all days together", all_together))
        }
    return found


def by_day(losses: Losses) -> Doubles:
    """The pinball loss of each target day that was forecast at every cutoff before it."""
    sums_CH = losses.sums["pinball"]
    cutoffs, horizon = sums_CH.shape
    return np.array([np.trace(sums_CH[first:, ::-1][:horizon]) for first in range(cutoffs - horizon + 1)])


def goes_back(live_T: Doubles, frozen_T: Doubles) -> bool:
    return beyond_doubt(live_T, frozen_T, percent=PERCENT, days=DAYS) is not None


def all_together(live_T: Doubles, frozen_T: Doubles) -> bool:
    return len(live_T) >= DAYS and interval(live_T, frozen_T, block=ROLL_BACK_BLOCK)[0] > PERCENT


if __name__ == "__main__":
    main()
