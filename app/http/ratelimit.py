"""The rate limit per key: a moving window in this process's memory, off unless a setting gives it."""

import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.errors import Problem


class Rates:
    """Counts the requests of each key against `limit`, such as "100/second"; None counts nothing."""

    def __init__(self, limit: str | None) -> None:
        self._limit: RateLimitItem | None = parse(limit) if limit else None
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    def spend(self, key_id: int) -> None:
        """Count one request; raises a 429 with the seconds to wait once the limit is reached."""
        if self._limit is None or self._windows.hit(self._limit, str(key_id)):
            return
        reset, _ = self._windows.get_window_stats(self._limit, str(key_id))
        wait = max(1, round(reset - time.time() + 0.5))
        raise Problem("rate_limited", f"This key may make {self._limit}.", headers={"Retry-After": str(wait)})
