"""`greenshift export` without `--to`: the networks of a front, each with a card, as far as their weights are here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from service.artifacts import file_name
from service.cli.sources import Source
from service.errors import InputError, NotFoundError
from service.report.card import card_in_words, card_of
from service.report.markdown import table
from service.report.words import amount, recipe
from service.schema import StudySpec, Trial
from service.specs import trial_spec
from service.study_run import StudyRun, write_spec
from service.wire import Event
from worker.entry import inspect_task, pack_network
from worker.errors import ConfigurationError
from worker.schema import NetworkFile, TaskFacts, TrialSpec


def write_models(out: Path, source: Source) -> list[str]:
    """Writes a folder for each network of the front and a README; returns a line for each that is not complete.

    Raises:
        NotFoundError: the study has no front, or no weights of it are on this machine.
    """
    run = source.run
    if not run.front:
        raise NotFoundError(f"study: {run.study.spec.name} has no front yet: no trial completed at full fidelity")
    here = {trial.trial_id: place for trial in run.front if (place := _weights(source, trial)) is not None}
    if not here:
        raise NotFoundError(_nowhere(source))
    facts = None if run.study.spec.task else _facts(run.study.spec, source.log)
    written: dict[str, list[NetworkFile]] = {}
    for trial in run.front:
        folder = out / trial.trial_id
        folder.mkdir(exist_ok=True)
        files = _network(run, trial, facts, here[trial.trial_id], folder) if trial.trial_id in here else _none(trial)
        card = card_of(run, trial, facts, files)
        (folder / "model_card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        (folder / "MODEL_CARD.md").write_text(card_in_words(run, trial, card), encoding="utf-8")
        written[trial.trial_id] = files
    (out / "README.md").write_text(_readme(run, written), encoding="utf-8")
    write_spec(run.study.spec, out)
    return list(_gaps(written))


def _weights(source: Source, trial: Trial) -> Path | None:
    place = source.models / file_name(trial) if source.models is not None else None
    return place if place is not None and place.exists() else None


def _nowhere(source: Source) -> str:
    spec = source.run.study.spec
    if spec.keep_models == "none":
        return f"study: {spec.name} keeps no weights (keep_models: none), so there is nothing to export"
    if source.models is None:
        return ("study: its weights stay with the service; where this machine sees them, name the service's folder, "
                f"such as --models runs/service/models/{source.run.study.study_id}")  # fmt: skip
    return f"study: no weights of its front are in {source.models}; name their folder with --models"


def _facts(spec: StudySpec, log: Iterable[Event]) -> TaskFacts:
    """What is known of the data set: from the log, or else from the data set itself."""
    known = [event.payload for event in log if event.kind == "facts_found"]
    if known:
        return TaskFacts.model_validate(known[-1])
    try:
        return inspect_task(str(spec.dataset), str(spec.network), spec.data_dir)
    except ConfigurationError as error:
        raise InputError(f"study: {error}") from error


def _network(run: StudyRun, trial: Trial, facts: TaskFacts | None, weights: Path, folder: Path) -> list[NetworkFile]:
    spec = trial_spec(run.study.spec, trial)
    if not isinstance(spec, TrialSpec) or facts is None:
        return [_copied(weights, folder / f"model{weights.suffix}")]
    try:
        return pack_network(spec, facts, weights, folder)
    except ConfigurationError as error:
        raise InputError(str(error)) from error


def _copied(source: Path, target: Path) -> NetworkFile:
    """What a task left is of its own kind, also a folder."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
    return NetworkFile(name=target.name)


def _none(trial: Trial) -> list[NetworkFile]:
    return [NetworkFile(name="model", missing=f"the weights of trial {trial.trial_id} are not on this machine")]


def _gaps(written: dict[str, list[NetworkFile]]) -> Iterable[str]:
    for trial_id, files in written.items():
        for file in files:
            if file.missing is not None:
                yield f"trial {trial_id} has no {file.name}: {file.missing}"


def _readme(run: StudyRun, written: dict[str, list[NetworkFile]]) -> str:
    objectives = list(run.study.spec.objectives)
    rows = [
        [t.trial_id, *(amount(t.measurement(name)) for name in objectives), recipe(t),
         ", ".join(f.name for f in written[t.trial_id] if f.missing is None) or "no weights here"]
        for t in run.front
    ]  # fmt: skip
    return "\n\n".join([
        "# The front of a study of greenshift",
        table(["trial", *objectives, "config", "files"], rows),
        "Each folder is a network that no other of the study dominates. Its MODEL_CARD.md says what it is, how its "
        "figures are known and how to load it; model_card.json says the same to programs. study.yaml repeats the "
        "study: `greenshift run study.yaml`.",
    ]) + "\n"  # fmt: skip
