"""The presets that repeat the papers' studies, from the command line to the last word on the front, made small.

The data are CIFAR-10 in format only: handwritten digits in colours.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from service.schema import StudySpec
from tests.service.processes import greenshift
from tests.worker.data.originals import write_cifar10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1100)]
PRESETS = ("paper-2024", "paper-2026", "paper-2026-mobilenetv2", "paper-2026-googlenet")
# Of each paper one, as every final training takes five seconds of passes: the networks make no difference to it.
FINALIZED = ("paper-2024", "paper-2026-googlenet")
N_LAYERS = {"resnet20": 20, "mobilenet_v2": 53, "googlenet": 58}
BASELINES = ["default", "default-recommended"]
N_TRIALS, N_SEEDS = 5, 3
Row = dict[str, str]


@dataclass(frozen=True)
class Repeated:
    """A preset that has run in small."""

    spec: StudySpec
    folder: Path

    def rows(self, name: str) -> list[Row]:
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar")
    write_cifar10(folder, n=30)
    return folder


@pytest.fixture(scope="module", params=PRESETS)
def repeated(request: pytest.FixtureRequest, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Repeated:
    """Everything of the preset but its epochs and the number of trials."""
    folder = tmp_path_factory.mktemp(request.param)
    spec = StudySpec.load(request.param)
    document = spec.model_dump(mode="json") | {
        "fidelity": {"name": "epochs", "min_fidelity": 1, "max_fidelity": 2, "eta": 2},
        "keep_models": "front",
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    out, small = folder / "out", ("--n-trials", str(N_TRIALS), "--workers", "2", "--data-dir", str(data_dir))
    run = greenshift("run", str(folder / "small.yaml"), *small, "--out", str(out), seconds=500)
    assert run.returncode == 0, run.stderr
    return Repeated(spec, out)


class Text(HTMLParser):
    """What a page says."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""

    def handle_data(self, data: str) -> None:
        self.said += f" {data}"


def test_the_search_is_as_its_authors_set_it(repeated: Repeated) -> None:
    trials = repeated.rows("trials.csv")
    searched = [row for row in trials if row["is_default"] == "False"]
    assert (len(trials), len(searched)) == (N_TRIALS, N_TRIALS - len(BASELINES))
    assert {row["state"] for row in trials} <= {"COMPLETED", "FAILED"}
    assert {row["failure"] for row in trials} <= {"", "diverged"}
    for name, value in repeated.spec.fixed.items():
        assert {row[f"config.{name}"] for row in searched} == {str(value)}
    for config in repeated.spec.initial_configs:
        first = min(searched, key=lambda row: row["trial_id"])
        assert {name: first[f"config.{name}"] for name in config} == {name: str(v) for name, v in config.items()}
    assert {row["epochs"] for row in searched} == {"1", "2"}


def test_the_default_is_trained_twice_in_full_and_never_on_the_front(repeated: Repeated) -> None:
    trials = {row["trial_id"]: row for row in repeated.rows("trials.csv")}
    default, recommended = (trials[name] for name in BASELINES)
    for row in (default, recommended):
        assert (row["epochs"], row["shift_depth"]) == ("2", str(N_LAYERS[repeated.spec.network]))
        assert row["config.quantizer"] == "deepshift-ps"
    assert (default["config.optimizer"], default["config.schedule"]) == ("sgd", "constant")
    assert (recommended["config.optimizer"], recommended["config.schedule"]) == ("radam", "step")
    assert not set(BASELINES) & {row["trial_id"] for row in repeated.rows("front.csv")}


def test_every_network_of_the_front_has_both_objectives_of_the_paper(repeated: Repeated) -> None:
    front = repeated.rows("front.csv")
    assert front
    for row in front:
        for objective in repeated.spec.objectives:
            assert float(row[objective]) > 0
            assert row[f"{objective}_quality"] in ("measured", "integrated", "estimated")


def test_the_weights_of_the_front_and_of_both_defaults_are_kept(repeated: Repeated) -> None:
    front = {row["trial_id"] for row in repeated.rows("front.csv")}
    completed = {row["trial_id"] for row in repeated.rows("trials.csv") if row["state"] == "COMPLETED"}
    assert {path.stem for path in (repeated.folder / "models").iterdir()} == (front | set(BASELINES)) & completed


def test_the_report_says_what_both_defaults_are(repeated: Repeated) -> None:
    page = Text()
    page.feed((repeated.folder / "report.html").read_text())
    said = " ".join(page.said.split())
    assert "default , the default (DeepShift-PS, 5 bits, 16+16); default-recommended , the default trained as" in said
    assert "of them dominate the default trained as DeepShift advises (RAdam, 0.01) in validation error and" in said


@pytest.mark.parametrize("repeated", FINALIZED, indirect=True)
def test_the_last_word_is_said_of_the_front_and_of_both_defaults(repeated: Repeated) -> None:
    done = greenshift("finalize", str(repeated.folder), "--workers", "2", seconds=500)
    assert done.returncode == 0, done.stderr
    final = repeated.rows("final.csv")
    completed = {row["trial_id"] for row in repeated.rows("trials.csv") if row["state"] == "COMPLETED"}
    judged = {row["trial_id"] for row in repeated.rows("front.csv")} | (set(BASELINES) & completed)
    assert {row["trial_id"] for row in final} == judged
    assert len(final) == N_SEEDS * len(judged)
    assert {row["is_default"] for row in final if row["trial_id"] in BASELINES} == {"True"}
    assert all(name in done.stdout for name in judged)
