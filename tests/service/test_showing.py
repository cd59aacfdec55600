from __future__ import annotations

import threading
from pathlib import Path

import httpx2
import pytest

from service.showing import showing
from service.store import Store
from tests.service.processes import wait_until
from tests.service.served import recorded


def is_over() -> bool:
    return "dashboard" not in {thread.name for thread in threading.enumerate()}


def test_a_run_is_shown_and_steered_on_this_machine_while_it_goes_on(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        study = recorded(store)
        with (
            httpx2.Client(timeout=60) as client,
            showing(tmp_path / "study.sqlite", tmp_path / "report.html") as url,
        ):
            assert url.startswith("http://127.0.0.1:")
            page = client.get(f"{url}/studies/{study.study_id}").text
            assert f'content="{tmp_path}/report.html"' in page
            assert client.get(f"{url}/api/v1/studies/{study.study_id}/status").json()["state"] == "RUNNING"
            assert client.post(f"{url}/api/v1/studies/{study.study_id}/pause").status_code == 202
        assert [request.kind for request in store.requests(study.study_id)] == ["pause"]
    wait_until(is_over)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)


def test_a_stream_of_events_does_not_keep_a_run_that_ends(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        study = recorded(store)
        with (
            httpx2.Client(timeout=60) as client,
            showing(tmp_path / "study.sqlite", tmp_path / "report.html") as url,
            client.stream("GET", f"{url}/api/v1/studies/{study.study_id}/events") as stream,
        ):
            assert next(stream.iter_lines()).startswith(("id:", "data:", "event:"))
    wait_until(is_over)
