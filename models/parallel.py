"""Work on many series on several threads: parts of them at a time, each on one thread of its own.

NumPy and torch let go of the interpreter while they compute. Parts that fit a processor's cache are faster than the whole at
once, and threads over parts are faster than torch's own threads over one small part: those wait for each other at every step.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from models.days import Index

T = TypeVar("T")
P = ParamSpec("P")
AT_ONCE = 2048
"""Series of a part."""


def in_parts(series: int, *, at_once: int = AT_ONCE) -> list[Index]:
    """The rows of all series, some at a time; one part without any where there is none."""
    return [np.arange(first, min(first + at_once, series)) for first in range(0, max(series, 1), at_once)]


class Hands:
    """Threads that take work. Made by `hands`."""

    def __init__(self, pool: ThreadPoolExecutor, beside: ThreadPoolExecutor) -> None:
        self._pool, self._beside = pool, beside

    @property
    def beside(self) -> "Hands":
        """As many more, for work that must not wait until all that was given before is done."""
        return Hands(self._beside, self._beside)

    def give(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let one of them do it."""
        return self._pool.submit(work, *args, **kwargs)

    def by_parts(self, series: int, work: Callable[[Index], T], *, at_once: int = AT_ONCE) -> list[Future[T]]:
        """Let them do it for all series, some rows at a time; what comes of each part, in their order."""
        return [self.give(work, rows) for rows in in_parts(series, at_once=at_once)]


@contextmanager
def hands() -> Iterator[Hands]:
    """As many threads as torch has; torch itself uses one in each of them meanwhile. Work that was not begun when the block ends
    is dropped."""
    threads = torch.get_num_threads()
    pools = [ThreadPoolExecutor(threads) for _ in range(2)]  # threads begin with the work that is given
    torch.set_num_threads(1)
    try:
        yield Hands(*pools)
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
