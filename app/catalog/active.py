"""When a series counts as active, in one place: what `complete=true` fills with zeros and what "all" forecasts means.

Active on a day: it sold something in the 56 days before, and its item is not discontinued.
"""

ACTIVE_DAYS = 56


def not_discontinued(sku: str, day: str) -> str:
    """SQL that holds unless the item `sku` is discontinued on `day` (both SQL expressions). The day itself counts as after."""
    return f"NOT EXISTS (SELECT FROM items i WHERE i.sku = {sku} AND i.discontinued_on <= {day})"


def sold_before(series_id: str, day: str) -> str:
    """SQL that holds when the series sold something in the ACTIVE_DAYS days before `day` (both SQL expressions)."""
    return (
        f"EXISTS (SELECT FROM sales a WHERE a.series_id = {series_id} "
        f"AND a.day >= {day} - {ACTIVE_DAYS} AND a.day < {day} AND a.quantity > 0)"
    )


def active_on(series: str, day: str) -> str:
    """SQL that tells whether a row of `series` (its alias) is active on `day` (an SQL expression of type date)."""
    return f"({sold_before(f'{series}.id', day)} AND {not_discontinued(f'{series}.sku', day)})"
