"""When a series counts as active, in one place: what `complete=true` fills with zeros and which series "all" forecasts mean.

Active on a day: it sold something in the ACTIVE_DAYS days before, and its item is not discontinued.
"""

ACTIVE_DAYS = 56


def not_discontinued(sku: str, day: str) -> str:
    """SQL that holds unless the item `sku` is discontinued on `day` (both SQL expressions). The day itself counts as after."""
    return f"NOT EXISTS (SELECT FROM items i WHERE i.sku = {sku} AND i.discontinued_on <= {day})"
