from __future__ import annotations

import threading

from service.api.turns import Turns
from tests.service.processes import wait_until


def test_who_comes_again_stands_behind_who_waits() -> None:
    turns, order = Turns(), []

    def wait() -> None:
        with turns:
            order.append("who waited")

    waiting = threading.Thread(target=wait)
    with turns:
        waiting.start()
        wait_until(turns._door.locked)
    with turns:
        order.append("who came again")
    waiting.join()
    assert order == ["who waited", "who came again"]
