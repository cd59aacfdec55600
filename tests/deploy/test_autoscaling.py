"""What the Dask operator's autoscaler asks a scheduler that is set up as its overlay does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from service.client import Client
from service.schema import StudySpec
from tests.deploy.kustomize import build
from tests.deploy.test_kubernetes import KUBERNETES
from tests.service.processes import GREENSHIFT, dask_scheduler, started, wait_until

QUICK = StudySpec.load(str(Path(__file__).parents[1] / "service" / "quick.yaml")).model_dump(
    mode="json", exclude_none=True
)


def environment() -> dict[str, str]:
    """Of the scheduler in the cluster."""
    cluster = next(r for r in build(KUBERNETES / "overlays" / "dask-operator") if r["kind"] == "DaskCluster")
    (container,) = cluster["spec"]["scheduler"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.slow
def test_a_cluster_of_no_worker_is_asked_for_one_when_a_study_comes_and_for_none_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "serve.log"
    with dask_scheduler(tmp_path) as (_, address):
        port = json.loads((tmp_path / "scheduler.json").read_text())["services"]["dashboard"]

        def n_workers() -> int:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/adaptive_target", timeout=60) as answer:
                return int(json.load(answer)["workers"])

        serve = [*GREENSHIFT, "serve", "--port", "0", "--scheduler", address, "--out", str(tmp_path / "out")]
        with started(*serve, log=log, PYTHONUNBUFFERED="1"):
            wait_until(lambda: re.search(r"Serving at (\S+);", log.read_text()))
            with Client(re.findall(r"Serving at (\S+);", log.read_text())[0]) as client:
                wait_until(lambda: client.workers().is_current)
                assert n_workers() == 0
                study = client.submit(QUICK, n_trials=8)
                wait_until(lambda: n_workers() == 1)
                study.stop()
                wait_until(lambda: n_workers() == 0)
