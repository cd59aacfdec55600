"""The guide to data sets, networks and tasks against the program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from service.schema import StudySpec
from service.tasks import completed
from tests.worker.distributions import install
from worker import trial
from worker.data import dataset_names, load_dataset
from worker.data.names import find_source
from worker.energy.sources import NoSource
from worker.entry import describe_task, run_trial
from worker.models import NETWORKS
from worker.schema import TaskTrialSpec

GUIDE = (Path(__file__).parents[2] / "deploy/docs/data-and-networks.md").read_text()


@pytest.mark.parametrize("name", dataset_names())
def test_every_data_set_is_documented_with_its_augmentation(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*\| ([^|]+) \|$", GUIDE, flags=re.MULTILINE)

    assert row == (", ".join(find_source(name).augmentation) or "none")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_ours_is_documented(name):
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", GUIDE, flags=re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.fixture
def declared(monkeypatch, tmp_path):
    """Names of the data set and of the task of the guide, installed as it says."""
    names = []
    for code, declaration in zip(blocks("python"), blocks("toml"), strict=True):
        pattern = r'\[project\.entry-points\."(.*)"\]\n(\w+) = "my_package:(.*)"\n'
        group, name, target = re.fullmatch(pattern, declaration).groups()
        module = f"package_of_{name}"
        install(monkeypatch, tmp_path / name, module, code, f"[{group}]\n{name} = {module}:{target}\n")
        names.append(name)
    return names


def test_the_data_set_of_the_guide_can_be_loaded(declared):
    data = load_dataset(declared[0])

    assert (data.image_shape, data.n_classes) == ((1, 8, 8), 2)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [64, 16, 20]


def test_the_task_of_the_guide_is_searched_by_its_study(declared, monkeypatch):
    monkeypatch.setattr(trial, "open_source", lambda _uuid: NoSource())
    (study,) = [block for block in blocks("yaml") if "task:" in block]
    (fields,) = re.findall(r'`(\{"study_id".*?\}\})`', GUIDE, flags=re.DOTALL)
    spec = completed(StudySpec.load(yaml.safe_load(study)), describe_task(declared[1]))

    result = run_trial(TaskTrialSpec(**json.loads(fields) | {"fidelity": 3}))

    assert spec.objectives == {"error": "minimize", "nodes": "minimize"}
    assert result.failure is None
    assert 0 < result.objectives["error"].value < 0.5
    assert result.objectives["nodes"].value > 3 * 15
