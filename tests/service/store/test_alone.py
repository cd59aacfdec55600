from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.errors import ConflictError, InputError
from service.store import Store, alone

HOLD = """
import sys, time
from service.store import Store, alone
with Store(sys.argv[1]) as store, alone(store):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studies.sqlite"
    return str(request.getfixturevalue("postgresql_url"))


def test_a_store_is_held_by_one_at_a_time(url: str) -> None:
    with Store(url) as first, Store(url) as second:
        with alone(first), pytest.raises(ConflictError, match="has a service already"), alone(second):
            pass
        with alone(second):
            pass


def test_a_server_may_notice_a_little_late_that_its_holder_has_gone(postgresql_url: str) -> None:
    with Store(postgresql_url) as first, Store(postgresql_url) as second, ExitStack() as holding:
        holding.enter_context(alone(first))
        leaving = threading.Timer(0.3, holding.close)
        leaving.start()
        with alone(second):
            pass
        leaving.join()


def test_others_may_read_and_write_meanwhile(url: str) -> None:
    with Store(url) as first, Store(url) as second, alone(first):
        assert second.studies() == []


@pytest.mark.slow
def test_a_process_that_is_killed_holds_nothing(url: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        os.kill(process.pid, signal.SIGKILL)
    with Store(url) as store, alone(store):
        pass


def test_what_is_in_memory_is_refused() -> None:
    with Store(None) as store, pytest.raises(InputError, match="got one in memory"), alone(store):
        pass
