"""An ask does its linear algebra on one thread, and leaves the number as it was."""

from __future__ import annotations

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from service.optimizer.selector import FrontSelector
from tests.service.optimizer.toy import make_optimizer, score


def _threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_asking_uses_one_thread_and_restores_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[set[int]] = []
    learn = FrontSelector._learn

    def counted(selector: FrontSelector) -> None:
        during.append(_threads())
        learn(selector)

    monkeypatch.setattr(FrontSelector, "_learn", counted)
    optimizer = make_optimizer(n_trials=20)
    with threadpool_limits(2, user_api="blas"):
        while not during and (suggestion := optimizer.ask()) is not None:
            optimizer.tell(suggestion, score(suggestion))
        after = _threads()
    assert during == [{1}]
    assert after == {2}
