from __future__ import annotations

import threading
from pathlib import Path

import httpx2
import pytest

from service.showing import showing
from service.store import Store
from tests.service.served import recorded


def test_a_run_is_shown_and_steered_on_this_machine_while_it_goes_on(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        study = recorded(store)
        with showing(tmp_path / "study.sqlite", tmp_path / "report.html") as url:
            assert url.startswith("http://127.0.0.1:")
            page = httpx2.get(f"{url}/studies/{study.study_id}").text
            assert f'content="{tmp_path}/report.html"' in page
            assert httpx2.get(f"{url}/api/v1/studies/{study.study_id}/status").json()["state"] == "RUNNING"
            assert httpx2.post(f"{url}/api/v1/studies/{study.study_id}/pause").status_code == 202
        assert [request.kind for request in store.requests(study.study_id)] == ["pause"]
    assert "dashboard" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)


def test_a_stream_of_events_does_not_keep_a_run_that_ends(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        study = recorded(store)
        with (
            httpx2.Client() as client,
            showing(tmp_path / "study.sqlite", tmp_path / "report.html") as url,
            client.stream("GET", f"{url}/api/v1/studies/{study.study_id}/events") as stream,
        ):
            assert next(stream.iter_lines()).startswith(("id:", "data:", "event:"))
    assert "dashboard" not in {thread.name for thread in threading.enumerate()}
