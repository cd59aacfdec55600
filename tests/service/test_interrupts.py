from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from service.interrupts import held_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_what_it_must_not_cut_is_whole(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    done: list[str] = []
    try:
        with pytest.raises(KeyboardInterrupt), held_signals():
            signal.raise_signal(number)
            done.append("whole")
        assert done == ["whole"]
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_no_signal_is_made_up() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with held_signals():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_holds_nothing() -> None:
    seen: list[object] = []

    def work() -> None:
        with held_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_second_signal_waits_no_longer() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), held_signals():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("it waited")
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_signal_comes_between_two_handlers() -> None:
    put = signal.signal
    moments: list[bool] = []

    def watched(number: int, handler: Any) -> Any:
        moments.append({signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return put(number, handler)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "signal", watched)
        with held_signals():
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}
    assert moments == [True] * 4
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}
