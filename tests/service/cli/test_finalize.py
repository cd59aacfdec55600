from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from service import server
from service.store import Store
from tests.service.cli.commands import Call
from tests.service.fakes import FakeDispatcher
from tests.service.test_finalize import searched


def test_the_report_beside_a_finalized_front_tells_its_test_errors(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        searched(store)
    monkeypatch.setattr(server, "_cluster", lambda *_: nullcontext())
    monkeypatch.setattr(server, "DaskDispatcher", lambda _client: FakeDispatcher())
    done = call("finalize", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("report.html\n")
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Judged by the test split</h2>" in page
    # The fake errs by the distance to its best rate, 0.05, and by a third for its three bits.
    assert page.count("<td>0.3733 ± 0.0000</td><td>3</td>") == 3
    assert len((tmp_path / "ledger.csv").read_text().splitlines()) == 3
