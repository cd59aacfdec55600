"""Linear algebra on one thread: matrices of some hundred rows are slower on several, most of all beside workers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """As long as it is entered, numpy's and scipy's BLAS use one thread; so sums do not depend on how many there are."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    """Finds the libraries that are loaded, once: that takes milliseconds."""
    return ThreadpoolController()
