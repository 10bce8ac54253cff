"""What the days held out teach, and what they must not."""

from dataclasses import replace

import numpy as np

from models.checkpoint import serialise
from models.panel import Panel
from models.training import train
from models.validation import learn_from_newest, learn_from_validation
from tests.models.panels import START, small


def test_what_was_sold_on_days_out_of_stock_changes_nothing_that_days_held_out_teach() -> None:
    """Shares, levels and how days go together, after a training and in an update."""
    rng = np.random.default_rng(6)
    quantity, in_stock = rng.poisson(20, (6, 200)).astype(np.float32), np.ones((6, 200), np.float32)
    out = rng.random(quantity.shape) < 0.3
    in_stock[out] = 0
    names = [f"s{i}" for i in range(6)]
    panels = [
        Panel(names, [""] * 6, START, np.where(out, np.float32(sold), quantity), past={"in_stock": in_stock})
        for sold in (0, 3)
    ]
    twin = train(panels[0], small("mlp", epochs=2, past=("in_stock",))).forecaster.twin
    assert twin is not None
    pairs = np.repeat(np.arange(6), 30), np.tile(np.arange(160, 190), 6)
    learned, updated = [], []
    for panel in panels:
        learn_from_validation(twin, panel, *pairs)
        learned.append(serialise(twin))
        earlier = replace(twin, adjustment=replace(twin.adjustment, evidence_until=twin.trained_until))
        updated.append(learn_from_newest(earlier, panel, 200).as_dict())
    assert learned[0] == learned[1] and updated[0] == updated[1]
    plain = Panel(names, [""] * 6, START, panels[0].quantity_ST, past={"in_stock": np.ones_like(in_stock)})
    learn_from_validation(twin, plain, *pairs)
    assert serialise(twin) != learned[0]  # zeros that are taken for demand do
