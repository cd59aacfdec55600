"""`greenshift export` of the networks of a front: one that was really trained, and one whose weights are elsewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.export_folder import MANIFEST
from service.schema import Study, StudyState
from service.store import Store
from tests.service.cli.commands import Call, assert_refused
from tests.service.fakes import completed, measurement, study_spec
from tests.service.served import finish, serving
from tests.worker.test_packing import without_onnx
from worker.entry import inspect_task, run_trial
from worker.schema import Measurement, Recipe, TrialSpec

CONFIG = {"quantizer": "deepshift-q", "weight_bits": 3, "activation_integer_bits": 4, "activation_fraction_bits": 3,
          "optimizer": "adam", "learning_rate": 0.005}  # fmt: skip


def error(value: float) -> dict[str, Measurement]:
    return {"error": measurement(value, "evaluation", "measured", "ratio")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `greenshift run` leaves it: on the front a trained network with weights and one without."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    (folder / "models").mkdir(parents=True)
    with Store(folder / "study.sqlite") as store:
        study = store.create_study(study_spec(name="a front"))
        store.record_facts(study.study_id, inspect_task("digits", "resnet8"))
        store.set_study_state(study.study_id, StudyState.RUNNING)
        spec = TrialSpec(
            study_id=study.study_id, trial_id="00001", dataset="digits", network="resnet8", recipe=Recipe(**CONFIG),
            shift_depth=10, epochs=1, model_path=str(folder / "models" / "00001.safetensors"),
        )  # fmt: skip
        finish(store, study, run_trial(spec), config=CONFIG, epochs=1)
        finish(store, study, completed("00002", deployment_energy=1e-12, objectives=error(1.0)))
        store.record_final(study.study_id, "00001", 0, completed("f", study_id=study.study_id, objectives=error(0.25)))
    return folder


def test_the_front_is_exported_with_cards(call: Call, folder: Path, tmp_path: Path) -> None:
    done = call("export", str(folder), "--out", "there")
    assert done.returncode == 0
    assert done.stderr == "trial 00002 has no model: the weights of trial 00002 are not on this machine\n"
    there = tmp_path / "there"
    assert {p.name for p in there.iterdir()} == {MANIFEST, "README.md", "study.yaml", "00001", "00002"}
    cards = {"MODEL_CARD.md", "model_card.json"}
    assert {p.name for p in (there / "00002").iterdir()} == cards
    assert {p.name for p in (there / "00001").iterdir()} == cards | {
        "model.packed.safetensors",
        "model.onnx",
        "model.h",
    }

    card = json.loads((there / "00001" / "model_card.json").read_text())
    assert card["config"] == CONFIG
    assert card["network"] == {
        "name": "resnet8", "dataset": "digits", "family": "shift", "shift_depth": 10, "image_shape": [1, 8, 8],
        "n_classes": 10, "n_layers": 10,
    }  # fmt: skip
    methods = {name: figure["method"] for name, figure in card["measurements"].items()}
    assert (methods["error"], methods["deployment_energy"]) == ("evaluation", "analytic")
    assert card["test_error"] == {"mean": 0.25, "deviation": None, "n_seeds": 1}
    assert (card["training"]["seed"], card["training"]["epochs"]) == (0, 1)
    assert card["energy"]["quality"] in ("measured", "integrated", "estimated", "none")
    assert not {"host", "boot_id"} & card["energy"].keys()
    assert card["environment"]["exported_with"]["torch"]
    assert "not here: the weights of trial 00002" in (there / "00002" / "MODEL_CARD.md").read_text()
    assert "| 00002 |" in (there / "README.md").read_text()


def test_what_the_card_says_of_loading_works(call: Call, folder: Path, tmp_path: Path) -> None:
    call("export", str(folder), "--out", "there")
    text = (tmp_path / "there" / "00001" / "MODEL_CARD.md").read_text()
    (code,) = re.findall(r"```\n(.*?)```", text, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "there" / "00001", capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"tensor\(\[(\d, ){7}\d\]\)\n", done.stdout)


def test_weights_of_a_service_are_named_by_their_folder(
    call: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(folder / "study.sqlite") as store, serving(store) as url:
        monkeypatch.setenv("GREENSHIFT_URL", url)
        monkeypatch.setattr("importlib.util.find_spec", without_onnx(importlib.util.find_spec))
        study: Study = store.studies()[0]
        alone = call("export", study.study_id, "--out", "alone")
        named = call("export", study.study_id, "--out", "named", "--models", str(folder / "models"))
    assert (alone.returncode, len(alone.stderr.splitlines())) == (3, 1)
    assert f"--models runs/service/models/{study.study_id}" in alone.stderr
    assert not (tmp_path / "alone").exists()
    assert named.returncode == 0
    assert "trial 00001 has no model.onnx: export_onnx needs onnx" in named.stderr
    assert (tmp_path / "named" / "00001" / "model.packed.safetensors").is_file()


def test_a_network_that_left_the_front_goes_and_files_of_the_user_stay(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "mine")
    assert call("export", "mine", "--out", "there").returncode == 0
    (tmp_path / "there" / "notes.txt").write_text("mine")
    with Store(tmp_path / "mine" / "study.sqlite") as store:
        finish(store, store.studies()[0], completed("00003", deployment_energy=1e-13, objectives=error(0.99)))
    assert call("export", "mine", "--out", "there").returncode == 0
    names = {p.name for p in (tmp_path / "there").iterdir()}
    assert names == {MANIFEST, "README.md", "study.yaml", "00001", "00003", "notes.txt"}


def test_a_folder_of_the_user_is_refused_and_left_as_it_is(call: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "README.md").write_text("mine")
    assert_refused(call("export", str(folder), "--out", "there"), "out: there holds files", "--force")
    assert (tmp_path / "there" / "README.md").read_text() == "mine"
    assert len(list((tmp_path / "there").iterdir())) == 1


def test_without_torch_one_line_says_what_is_missing(
    call: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.extras.find_spec", lambda _name: None)
    refused = call("export", str(folder), "--out", "there")
    assert_refused(refused, "to: models needs torch, which is not installed here: pip install torch")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_of_the_trial_are_bad_input(call: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "00001.safetensors").write_text("no weights")
    assert_refused(call("export", str(folder), "--out", "there", "--models", "wrong"), "not those of trial 00001")
