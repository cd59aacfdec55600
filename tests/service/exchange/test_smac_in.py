from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.errors import InputError
from service.exchange.smac_in import read_smac
from service.exchange.smac_out import write_smac
from tests.service.exchange.conftest import CONFIG, Told


def write(folder: Path, data: list[object], configs: dict[str, object]) -> Path:
    (folder / "runhistory.json").write_text(json.dumps({"data": data, "configs": configs}))
    return folder


def test_what_we_wrote_is_read_at_full_fidelity_with_the_same_costs(told: Told, tmp_path: Path) -> None:
    write_smac(tmp_path, told.run, told.log)
    _, found = read_smac(tmp_path)
    assert {each.config["learning_rate"]: each.costs for each in found} == {
        0.01: (0.1, -2.0), 0.02: (0.2, -4.0), 0.03: (0.4, -1.0), 0.04: (0.6, -9.0)}  # fmt: skip
    assert all(each.config.keys() == CONFIG.keys() for each in found)


@pytest.mark.parametrize("middle", [[1.5], [1.5, 0.5]], ids=["2.0", "with CPU time"])
def test_evaluations_of_earlier_versions_are_lists(tmp_path: Path, middle: list[float]) -> None:
    data = [[1, None, seed, 10.0, cost, *middle, 1, 0.0, 1.0, {}] for seed, cost in ((0, [1.0, 3.0]), (1, [2.0, 5.0]))]
    failed = [2, None, 0, 10.0, [9e9, 9e9], *middle, 2, 0.0, 1.0, {}]
    cheap = [3, None, 0, 5.0, [0.0, 0.0], *middle, 1, 0.0, 1.0, {}]
    _, found = read_smac(write(tmp_path, [*data, failed, cheap], {key: {"a": key} for key in "123"}))
    assert [(each.config, each.costs) for each in found] == [({"a": "1"}, (1.5, 4.0))]


def test_a_file_that_is_no_run_history_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "runhistory.json").write_text("[]")
    with pytest.raises(InputError, match="is no run history of SMAC3"):
        read_smac(tmp_path)


def test_several_runs_below_a_folder_are_told_apart_by_the_user(tmp_path: Path) -> None:
    for seed in "12":
        (tmp_path / seed).mkdir()
        write(tmp_path / seed, [], {})
    with pytest.raises(InputError, match=r"must hold one runhistory\.json of SMAC3, and holds 2 of them"):
        read_smac(tmp_path)
