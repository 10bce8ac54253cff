"""What is held of a place for months, while nobody looks: it stays held, by what was known before it began."""

import httpx
import pytest

from tests.quarantine.places import a_day, day, open_shop, rows_of, send


def week(number: int, times: float) -> list[dict[str, object]]:
    """The days of a week after the shop's past, the first being 0."""
    days = range(7 * number + 1, 7 * number + 8)
    return [row for ahead in days for row in rows_of(a_day(ahead, times=times, ahead=ahead), day(ahead))]


@pytest.mark.parametrize("times", [12, 1 / 12, 0])
async def test_a_place_is_held_until_somebody_decides(client: httpx.AsyncClient, times: float) -> None:
    await open_shop(client)
    for number in range(12):
        assert (await send(client, week(number, times)))["held"] == 70, f"week {number}"
    later = rows_of(a_day(99, ahead=85), day(85))
    assert (await send(client, later))["held"] == 0  # and what is right again is not held
