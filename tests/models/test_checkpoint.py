"""A forecaster survives its file to the bit; anything damaged is refused with a sentence."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load, save

from models.checkpoint import CheckpointError, deserialise, serialise
from models.inference import predict
from models.online.common_shifts import CommonShifts
from models.online.shifts import SPANS
from models.online.stream import Speeds, Stream
from models.online.tracking import untracked
from models.training import Trained, train
from models.training_config import MODELS
from tests.models.panels import make_panel, small


@pytest.fixture(scope="module")
def saved(trained: Trained) -> tuple[bytes, dict[str, Any]]:
    return serialise(trained.forecaster)


def broken(description: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**description, **changes}


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("loss", ["pinball", "mae"])
def test_forecasts_are_identical_to_the_bit_after_a_round_trip(architecture: str, loss: str) -> None:
    panel = make_panel()
    before = train(panel, small(architecture, loss=loss, epochs=1)).forecaster
    weights, description = serialise(before)
    after = deserialise(weights, json.loads(json.dumps(description)))
    assert after.twin is not None and before.twin is not None
    for ours, theirs in ((before, after), (before.twin, after.twin)):
        a, b = predict(ours, panel, 159), predict(theirs, panel, 159)
        np.testing.assert_array_equal(a.quantiles_SHQ, b.quantiles_SHQ)
        np.testing.assert_array_equal(a.mean_SH, b.mean_SH)
        np.testing.assert_array_equal(ours.dependence.rows_NH, theirs.dependence.rows_NH)
        np.testing.assert_array_equal(ours.dependence.levels_Q, theirs.dependence.levels_Q)
        assert ours.adjustment.as_dict() == theirs.adjustment.as_dict()
        assert ours.trained_until == theirs.trained_until and ours.keys == theirs.keys
    assert serialise(after) == (weights, description)


def without_logarithms(weights: bytes) -> bytes:
    """Weights as they were before amounts were compared by their logarithms."""
    new = ("statistics.own_spread_K", "statistics.floor_K")
    return save({name: tensor for name, tensor in load(weights).items() if not name.endswith(new)})


def test_a_version_from_before_logarithms_compares_amounts_as_it_did() -> None:
    panel = make_panel()
    price = np.random.default_rng(1).normal(0, 1, panel.quantity_ST.shape).astype(np.float32)  # no logarithm of these
    panel = replace(panel, past={"price": price})
    trained = train(panel, small("mlp", epochs=1, past=("price",))).forecaster
    weights, description = serialise(trained)
    old = deserialise(without_logarithms(weights), description | {"format": 4})
    np.testing.assert_array_equal(predict(old, panel, 159).mean_SH, predict(trained, panel, 159).mean_SH)
    with pytest.raises(CheckpointError, match="2 tensors differ"):
        deserialise(without_logarithms(weights), description)


def test_a_version_from_before_sums_had_levels_and_climatology_kinds_is_read() -> None:
    weights, description = serialise(train(make_panel(), small("mlp", epochs=1)).forecaster)
    weights = without_logarithms(weights)
    assert description["format"] == 6
    old = json.loads(json.dumps(description)) | {"format": 3}
    for part in ("model", "twin"):
        del old[part]["levels_of_sums"]
        for name in ("evidence", "evidence_until", "area", "point", "left_over"):
            del old[part]["adjustment"][name]
        old[part]["adjustment"]["climatology"] = 0.2
    after = deserialise(weights, old)
    np.testing.assert_array_equal(after.dependence.levels_Q, after.levels)
    assert after.adjustment.climatology_K.tolist() == [0.2, 0.0, 0.0] and after.adjustment.evidence_C is None
    old["twin"]["levels_of_sums"] = [0.5]
    with pytest.raises(CheckpointError, match="levels_of_sums must be 17 numbers"):
        deserialise(weights, old)


@pytest.mark.parametrize(
    "climatology", [[], [0.1, 0.2], [0.1, 0.2, 0.3, 0.4], [0.1, float("nan"), 0.1], [[0.1, 0.1, 0.1]]]
)
def test_shares_of_climatology_that_are_not_one_for_each_kind_are_refused(
    saved: tuple[bytes, dict[str, Any]], climatology: list[Any]
) -> None:
    weights, description = saved
    spoiled = json.loads(json.dumps(description))
    spoiled["model"]["adjustment"]["climatology"] = climatology
    with pytest.raises(CheckpointError, match="climatology must be 3 numbers"):
        deserialise(weights, spoiled)


def test_attributes_keep_their_place_in_a_file_whose_names_are_sorted() -> None:
    panel = replace(make_panel(series=6), skus=list("aabbcc"), locations=["n", "s"] * 3)
    panel = replace(panel, static={"brand": ["x", "x", "y", "y", "", ""]})
    before = train(panel, small("mlp", epochs=1)).forecaster
    assert list(before.identities.attributes) == ["brand", "location", "sku"]
    weights, description = serialise(before)
    after = deserialise(weights, json.loads(json.dumps(description, sort_keys=True)))  # as artifacts are written
    np.testing.assert_array_equal(predict(before, panel, 159).mean_SH, predict(after, panel, 159).mean_SH)


def test_the_description_is_readable(saved: tuple[bytes, dict[str, Any]]) -> None:
    model, twin = saved[1]["model"], saved[1]["twin"]
    assert model["members"][0]["architecture"] == "lstm"
    assert model["trained_until"] == "2025-06-09" and twin["trained_until"] == "2025-05-08"
    assert model["keys"][0] == ["sku-0", "north"]


@pytest.mark.parametrize("damage", ["cut short", "empty", "header", "not safetensors"])
def test_damaged_bytes_are_refused(saved: tuple[bytes, dict[str, Any]], damage: str) -> None:
    weights, description = saved
    spoiled = {
        "cut short": weights[:-10],
        "empty": b"",
        "header": b"\xff" * 16 + weights[16:],
        "not safetensors": b"hello" * 100,
    }[damage]
    with pytest.raises(CheckpointError, match="damaged"):
        deserialise(spoiled, description)


def test_a_weight_that_is_not_finite_is_refused(saved: tuple[bytes, dict[str, Any]]) -> None:
    tensors = load(saved[0])
    tensors["model.0.network.head.bias"][0] = float("nan")
    with pytest.raises(CheckpointError, match=r"head\.bias.*not finite"):
        deserialise(save(tensors), saved[1])


def test_missing_surplus_and_misshapen_tensors_are_refused(saved: tuple[bytes, dict[str, Any]]) -> None:
    weights, description = saved
    without = load(weights)
    del without["model.0.network.head.bias"]
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        deserialise(save(without), description)
    surplus = load(weights) | {"model.extra": load(weights)["model.dependence"]}
    with pytest.raises(CheckpointError, match="surplus"):
        deserialise(save(surplus), description)
    stranger = load(weights) | {"extra": load(weights)["model.dependence"]}
    with pytest.raises(CheckpointError, match="surplus"):
        deserialise(save(stranger), description)
    misshapen = load(weights)
    misshapen["model.dependence"] = misshapen["model.dependence"][:, :3].contiguous()
    with pytest.raises(CheckpointError, match="shape"):
        deserialise(save(misshapen), description)
    lost = load(weights)
    del lost["twin.dependence"]
    with pytest.raises(CheckpointError, match="missing"):
        deserialise(save(lost), description)


def test_descriptions_that_do_not_fit_are_refused(saved: tuple[bytes, dict[str, Any]]) -> None:
    weights, description = saved
    model = description["model"]
    member, adjustment = model["members"][0], model["adjustment"]

    def changed(**changes: Any) -> dict[str, Any]:
        return broken(description, model={**model, **changes})

    cases = [
        (broken(description, format=99), "format"),
        (broken(description, levels=[0.5]), "levels"),
        (changed(members=[{**member, "width": 64}]), "do not fit"),
        (changed(members=[{**member, "width": 6400}]), "width must lie between"),
        (changed(members=[{**member, "colour": 1}]), "fields differ"),
        (changed(members=[]), "0 members and 1 weights"),
        (changed(adjustment={**adjustment, "weights": [0.5, 0.5]}), "1 members and 2 weights"),
        (changed(keys=model["keys"][:2]), "do not fit"),
        (changed(keys=None), "incomplete or misshapen"),
        (changed(trained_until="soon"), "incomplete or misshapen"),
        (broken(description, model={k: v for k, v in model.items() if k != "keys"}), "incomplete or misshapen"),
    ]
    for given, sentence in cases:
        with pytest.raises(CheckpointError, match=sentence):
            deserialise(weights, given)


def test_an_updated_forecaster_is_the_same_again_with_its_state_and_its_lineage() -> None:
    panel = make_panel(days=190)
    known = panel.until(panel.start + np.timedelta64(174, "D"))
    stream = Stream(train(known, small()).forecaster, panel, speeds=Speeds())
    stream.issue(174)
    for day in range(175, 184):
        stream.learn(day)
        stream.issue(day)
    day = panel.start + np.timedelta64(183, "D")
    assert stream.forecaster.tracking is not None
    common = CommonShifts(day, tuple(0.07 * n for n in range(1, len(SPANS) + 1)))
    updated = replace(stream.forecaster, tracking=replace(stream.forecaster.tracking, common=common))
    again = deserialise(*serialise(updated))
    assert again.tracking is not None and updated.tracking is not None and again.lineage is not None
    for one, other in zip(again.tracking.arrays(), updated.tracking.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.tracking.keys == updated.tracking.keys
    assert again.tracking.common == common
    first, second = (predict(forecaster, panel, 183) for forecaster in (updated, again))
    np.testing.assert_array_equal(first.mean_SH, second.mean_SH)
    np.testing.assert_array_equal(first.quantiles_SHQ, second.quantiles_SHQ)


@pytest.mark.parametrize("odds", [[0.1], [0.1] * 9 + [float("nan")], [0.1] * 9 + [-1.0], None])
def test_common_shifts_that_are_no_odds_are_refused(trained: Trained, odds: list[float] | None) -> None:
    tracking = untracked(list(trained.forecaster.keys), trained.forecaster.trained_until)
    weights, description = serialise(replace(trained.forecaster, tracking=tracking))
    description["tracking"]["common_shifts"] = {"day": "2026-03-01", "odds": odds}
    with pytest.raises(CheckpointError, match=r"odds|misshapen"):
        deserialise(weights, description)


def test_a_state_from_before_common_shifts_is_read(trained: Trained) -> None:
    tracking = untracked(list(trained.forecaster.keys), trained.forecaster.trained_until)
    weights, description = serialise(replace(trained.forecaster, tracking=tracking))
    del description["tracking"]["common_shifts"]
    again = deserialise(weights, description)
    assert again.tracking is not None and again.tracking.common is None


def test_a_state_that_is_not_finite_is_refused(trained: Trained) -> None:
    tracking = untracked(list(trained.forecaster.keys), trained.forecaster.trained_until)
    tracking.shift_SGQ[0, 0, 0] = np.nan
    weights, description = serialise(replace(trained.forecaster, tracking=tracking))
    with pytest.raises(CheckpointError, match=r"tracking\.shift"):
        deserialise(weights, description)
