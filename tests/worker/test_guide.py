"""The guide to data sets and networks against the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.worker.distributions import install
from worker.data import dataset_names, load_dataset
from worker.data.names import find_source
from worker.models import NETWORKS

GUIDE = (Path(__file__).parents[2] / "deploy/docs/data-and-networks.md").read_text()


@pytest.mark.parametrize("name", dataset_names())
def test_every_data_set_is_documented_with_its_augmentation(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*\| ([^|]+) \|$", GUIDE, flags=re.MULTILINE)

    assert row == (", ".join(find_source(name).augmentation) or "none")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_ours_is_documented(name):
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", GUIDE, flags=re.MULTILINE)


def test_the_data_set_of_the_guide_can_be_loaded(monkeypatch, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    (declaration,) = re.findall(r"```toml\n(.*?)```", GUIDE, flags=re.DOTALL)
    group, name, target = re.fullmatch(r'\[project\.entry-points\."(.*)"\]\n(\w+) = "(.*)"\n', declaration).groups()
    install(monkeypatch, tmp_path, "my_package", code, f"[{group}]\n{name} = {target}\n")

    data = load_dataset(name)

    assert (data.image_shape, data.n_classes) == ((1, 8, 8), 2)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [64, 16, 20]
