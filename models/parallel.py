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

from models.windows import Index

T = TypeVar("T")
P = ParamSpec("P")
AT_ONCE = 2048
"""Series of a part."""


class Hands:
    """Threads that take work. Made by `hands`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def give(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let one of them do it."""
        return self._pool.submit(work, *args, **kwargs)

    def by_parts(self, series: int, work: Callable[[Index], T], *, at_once: int = AT_ONCE) -> list[Future[T]]:
        """Let them do it for all series, some rows at a time; what comes of each part, in their order."""
        firsts = range(0, max(series, 1), at_once)
        return [self.give(work, np.arange(first, min(first + at_once, series))) for first in firsts]


@contextmanager
def hands() -> Iterator[Hands]:
    """As many threads as torch has; torch itself uses one in each of them meanwhile. Work that was not begun when an error ends
    the block is dropped."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads)
    torch.set_num_threads(1)
    try:
        yield Hands(pool)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
