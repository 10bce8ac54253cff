"""What a SKU and a location may be called."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.names import Location, Sku, wrong_with_location, wrong_with_sku

SKUS: TypeAdapter[str] = TypeAdapter(Sku)
LOCATIONS: TypeAdapter[str] = TypeAdapter(Location)


@pytest.mark.parametrize("name", ["A-1", "00123", "NA", "1e5", "Ä/ß?#%", "苹果", "😀" * 200, "a b", "a\u00a0b", " a"])
def test_any_text_is_a_name(name: str) -> None:
    assert wrong_with_sku(name) is None
    assert wrong_with_location(name) is None
    assert SKUS.validate_python(name) == name
    assert LOCATIONS.validate_python(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a\0b", "U+0000"),
        ("a\n", "U+000A"),
        ("\x7f", "U+007F"),
        ("a\x85", "U+0085"),
        ("x\ud800", "lone surrogate U+D800"),
        ("a" * 201, "at most 200 characters, not 201"),
    ],
)
def test_what_a_name_may_not_be(name: str, why: str) -> None:
    assert why in str(wrong_with_sku(name))
    assert why in str(wrong_with_location(name))
    for adapter in (SKUS, LOCATIONS):
        with pytest.raises(ValidationError):
            adapter.validate_python(name)


@pytest.mark.parametrize("blank", ["", " ", "\u3000", "\u2028 "])
def test_a_blank_sku_is_none_but_a_blank_location_is_one(blank: str) -> None:
    assert "blank" in str(wrong_with_sku(blank))
    assert wrong_with_location(blank) is None


@pytest.mark.parametrize("value", [1, 1.5, True, None, b"a", ["a"]])
def test_a_number_is_not_a_name(value: object) -> None:
    with pytest.raises(ValidationError):
        SKUS.validate_python(value)
    with pytest.raises(ValidationError):
        LOCATIONS.validate_python(value)


@given(st.text(st.characters(), max_size=210))
def test_the_rule_for_every_text(name: str) -> None:
    stands = len(name) <= 200 and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    assert (wrong_with_location(name) is None) == stands
    assert (wrong_with_sku(name) is None) == (stands and bool(name.strip()))
