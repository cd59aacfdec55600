"""The card of an exported network: what it is, how good it is and how that is known, how it was made and is loaded."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from service.report.markdown import code_block, table
from service.report.words import amount, caveat, recipe, title
from service.schema import Trial
from service.scores import score
from service.study_run import StudyRun
from worker.schema import NetworkFile, TaskFacts

_FORMAT = 1
_PACKAGES = ("greenshift", "torch", "safetensors", "numpy")
_FORMS = {
    "model.packed.safetensors": "weights in their few bits, for load_packed of shiftlayers",
    "model.safetensors": "weights as they were trained",
    "model.onnx": "ONNX; its weights are the powers of two themselves",
    "model.h": "a C header that computes with integers, shifts and additions alone",
}


def card_of(run: StudyRun, trial: Trial, facts: TaskFacts | None, files: list[NetworkFile]) -> dict[str, Any]:
    """The card as JSON; what is unknown is null. Energies in J, deployment energy in J per image."""
    spec, result = run.study.spec, trial.result
    assert result is not None
    judged = score(trial, run.finals)
    return {
        "format": _FORMAT,
        "study": {"study_id": run.study.study_id, "name": spec.name, "objectives": dict(spec.objectives)},
        "trial_id": trial.trial_id,
        "network": {
            "name": spec.network or spec.task,
            "dataset": spec.dataset,
            "family": None if trial.is_of_task else trial.family,
            "shift_depth": trial.shift_depth,
            **(facts.model_dump(mode="json", include={"image_shape", "n_classes", "n_layers"}) if facts else {}),
        },
        "config": trial.config,
        "training": {
            "seed": trial.seed,
            "n_seeds": spec.n_seeds,
            "epochs": trial.epochs,
            "data_fraction": trial.data_fraction,
            "fidelity": trial.fidelity,
            "promoted_from": trial.promoted_from,
            "earlier_legs": [leg.trial_id for leg in result.earlier_legs],
            "duration_seconds": result.seconds,
        },
        "measurements": {name: m.model_dump(mode="json") for name, m in result.objectives.items()},
        "test_error": {"mean": judged.mean, "deviation": judged.deviation, "n_seeds": len(judged.errors)}
        if judged.errors
        else None,
        "energy": result.energy.model_dump(mode="json", exclude={"host", "boot_id"}) if result.energy else None,
        "environment": {
            "trained_by": result.worker,
            "device": result.energy.device if result.energy else None,
            "exported_with": _versions(),
        },
        "files": [file.model_dump() for file in files],
        "caveat": caveat([trial]),
    }


def card_in_words(run: StudyRun, trial: Trial, card: dict[str, Any]) -> str:
    """The same card as Markdown, for people."""
    spec = run.study.spec
    sections = [
        f"# Trial {trial.trial_id} of {table_free(spec.name)}",
        f"{table_free(spec.subject)}: {table_free(recipe(trial))}",
        "## Files",
        table(
            ["file", "what it is"],
            [[f["name"], _FORMS.get(f["name"], "what the task left") if f["missing"] is None
              else f"not here: {f['missing']}"] for f in card["files"]],
        ),
        *_loading(card),
        "## How good it is",
        "Errors are on the validation split that the search has seen, unless the test split is named.",
        table(["figure", "value", "quality", "method"], _figures(trial, card)),
        f"> {card['caveat']}",
        "## How it was made",
        table(["what", "value"], [(what, "unknown" if value is None else value) for what, value in _making(card)]),
        table(["hyperparameter", "value"], sorted(trial.config.items())),
        "Versions are those of the program that exported it.",
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def table_free(text: str) -> str:
    """Text that is no markup."""
    return table([text], [[text]]).splitlines()[0].strip("| ")


def _loading(card: dict[str, Any]) -> list[str]:
    """How to have the network in Python; nothing where no file of ours is there."""
    packed = next((f for f in card["files"] if f["name"] == "model.packed.safetensors"), None)
    network = card["network"]
    if packed is None or packed["missing"] is not None:
        return []
    shape = tuple(network["image_shape"])
    lines = (
        "from shiftlayers import load_packed",
        "from worker.data import load_dataset",
        "from worker.models import build_network",
        "",
        f"model = build_network({network['name']!r}, {shape}, {network['n_classes']})",
        'model = load_packed("model.packed.safetensors", model).eval()',
        "",
        "# Images (batch, channels, height, width), less the mean of the training images, over their deviation.",
        f"images = load_dataset({network['dataset']!r}).test.batch(slice(0, 8))",
        "print(model(images).argmax(1))",
        "",
    )
    said = "In the folder of this file, with greenshift installed; the last two lines need the data set as well."
    return ["## How to load it", said, code_block("\n".join(lines))]


def _making(card: dict[str, Any]) -> list[tuple[str, Any]]:
    """How the network was made and exported; what does not apply is left out."""
    training, environment = card["training"], card["environment"]
    absent = ("promoted_from", "fidelity", "epochs", "earlier_legs")
    return [
        *((what, value) for what, value in training.items() if value not in (None, []) or what not in absent),
        ("trained by", environment["trained_by"] or None),
        ("device", environment["device"]),
        *environment["exported_with"].items(),
    ]


def _figures(trial: Trial, card: dict[str, Any]) -> list[list[str]]:
    assert trial.result is not None
    rows = [[title(name), amount(m), m.quality, m.method] for name, m in trial.result.objectives.items()]
    test = card["test_error"]
    if test is not None:
        spread = "" if test["deviation"] is None else f" ± {test['deviation']:.4f}"
        rows.append([f"test error over {test['n_seeds']} trainings with all other data",
                     f"{test['mean']:.4f}{spread}", "measured", "evaluation"])  # fmt: skip
    return rows


def _versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: metadata.version(name) for name in _PACKAGES},
        "git_revision": _revision(),
    }


def _revision() -> str | None:
    """Of the checkout that this program runs from; None where it was installed in another way."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    checkout, revision = found.stdout.splitlines()
    # An environment may lie within a checkout of something else.
    return revision if Path(checkout).resolve() == root else None
