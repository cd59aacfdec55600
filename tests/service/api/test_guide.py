"""The guide against the program: a route that it does not name, or an example that does not run, fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.api import create_app
from service.schema import StudyState
from service.store import Store
from tests.service.served import recorded, serving

GUIDE = (Path(__file__).parents[3] / "deploy/docs/http.md").read_text()


def test_every_route_is_in_the_guide_and_no_other(store: Store) -> None:
    paths = create_app(store, require_token=False).openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    tables = "\n".join(line for line in GUIDE.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`((?:GET|POST) /[^`]*)`", tables))
    assert named | {"POST /api/v1/studies"} == routes
    assert "`POST /api/v1/studies`" in GUIDE


def test_the_examples_run(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    study = recorded(store, name="mine")
    store.set_study_state(study.study_id, StudyState.COMPLETED)
    monkeypatch.delenv("GREENSHIFT_TOKEN", raising=False)
    with serving(store) as url:
        monkeypatch.setenv("GREENSHIFT_URL", url)
        first, second = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
        exec(first, {})
        assert "study_created None" in capsys.readouterr().out
        exec(second, {})
        assert "00001 0.1" in capsys.readouterr().out
