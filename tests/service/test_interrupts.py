from __future__ import annotations

import signal
import threading

import pytest

from service.interrupts import held_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_what_it_must_not_cut_is_whole(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    done: list[str] = []
    try:
        with pytest.raises(KeyboardInterrupt), held_signals():
            signal.raise_signal(number)
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
