"""Public holidays as covariates, against dates looked up in calendars."""

import numpy as np
import pytest

from models.holidays import HOLIDAYS, Place, holidays_of, place_of, with_holidays
from models.panel import Panel
from models.windows import WindowSource
from tests.models.panels import make_panel

EPIPHANY = "2018-01-06"


def days(place: Place | None, start: str, count: int) -> dict[str, list[float]]:
    panel = Panel(["A"], [""], np.datetime64(start), np.ones((1, count), np.float32))
    known = with_holidays(panel, [place]).known
    assert all(values.shape == (1, count + 365) for values in known.values())
    return {name: known[name][0, :count].tolist() for name in HOLIDAYS}


def test_easter_of_italy_and_the_weeks_around_it() -> None:
    found = days(Place("IT"), "2018-03-24", 24)  # a Saturday eight days before Easter, to 16 April
    assert found["holiday"] == [0] * 8 + [1, 1] + [0] * 14
    sevenths = [n / 7 for n in range(8)]
    assert found["before_holiday"] == pytest.approx([*sevenths, 1] + [0] * 15)
    assert found["after_holiday"] == pytest.approx([0] * 9 + [1] + sevenths[:0:-1] + [0] * 7)


def test_a_subdivision_has_holidays_of_its_own_and_its_name_may_hold_the_country() -> None:
    epiphany = np.datetime64(EPIPHANY)
    assert epiphany in holidays_of(Place("DE", "BY"), 2018)
    assert epiphany in holidays_of(Place("DE", "DE-BY"), 2018)
    assert epiphany not in holidays_of(Place("DE", "BE"), 2018)
    assert epiphany not in holidays_of(Place("DE"), 2018)
    np.testing.assert_array_equal(holidays_of(Place("DE", "nowhere"), 2018), holidays_of(Place("DE"), 2018))


def test_a_code_names_a_place_or_says_what_is_wrong() -> None:
    assert place_of("IT") == Place("IT")
    assert place_of("DE-BY") == Place("DE", "BY")
    with pytest.raises(ValueError, match="country 'XX'"):
        place_of("XX")
    with pytest.raises(ValueError, match=r"no subdivision 'XX'.*BY"):
        place_of("DE-XX")


def test_without_a_country_or_past_the_known_years_nothing_is_known() -> None:
    assert np.isnan(days(None, "2018-01-01", 3)["holiday"]).all()
    assert np.isnan(days(Place("IT"), "2190-01-01", 3)["holiday"]).all()


def test_places_differ_by_series_and_what_was_told_stands() -> None:
    quantity = np.ones((3, 10), np.float32)
    told = np.full((3, 10), np.nan, np.float32)
    told[0, 2] = 0.5
    panel = Panel(
        list("abc"), [""] * 3, np.datetime64("2018-01-01"), quantity, known={"promo": quantity}, past={"holiday": told}
    )
    found = with_holidays(panel, [Place("DE", "BY"), Place("DE"), None], names=["holiday"], ahead=5)
    assert list(found.known) == ["promo", "holiday"] and not found.past
    assert found.known["promo"].shape == found.known["holiday"].shape == (3, 15)
    assert np.isnan(found.known["promo"][:, 10:]).all()
    assert found.known["holiday"][0].tolist() == [1, 0, 0.5, 0, 0, 1] + [0] * 9
    assert found.known["holiday"][1].tolist() == [1] + [0] * 14
    assert np.isnan(found.known["holiday"][2]).all()


def test_one_place_for_all_is_kept_once_and_cut_to_the_same_windows() -> None:
    panel = make_panel(series=4)
    shared = with_holidays(panel, [Place("IT")] * 4)
    assert shared.known["holiday"].strides[0] == 0
    apart = Panel(**{**vars(shared), "known": {name: np.array(values) for name, values in shared.known.items()}})
    identity_SA = np.zeros((4, 1), np.int64)
    series_B, cutoff_B = np.array([0, 3, 2]), np.array([100, 50, 159])
    told = [
        WindowSource(one, identity_SA, context_length=28, horizon=14, known=HOLIDAYS, past=(), cleaning="mask").windows(
            series_B, cutoff_B
        )
        for one in (shared, apart)
    ]
    for name in ("quantity_BM", "known_BKE"):
        np.testing.assert_array_equal(getattr(told[0], name).numpy(), getattr(told[1], name).numpy())
