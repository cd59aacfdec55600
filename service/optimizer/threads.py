"""Linear algebra on one thread: matrices of some hundred rows are slower on several, most of all beside workers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """While it is entered, numpy and scipy use one thread, so that sums do not depend on how many there are."""
    limit: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limit


@cache
def _controller() -> ThreadpoolController:
    """Finds the libraries that are loaded, once: that takes milliseconds."""
    return ThreadpoolController()
