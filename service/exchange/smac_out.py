"""A study as a run folder of SMAC3."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ConfigSpace import Configuration

from service.exchange.space import inside, space_of
from service.exchange.times import Times, times_of
from service.optimizer.run_folder import Evaluated, write_run_folder
from service.ranking import costs
from service.schema import StudySpec, Trial, TrialState
from service.study_run import StudyRun
from service.wire import Event


def write_smac(out: Path, run: StudyRun, log: Iterable[Event], *, home: Path | None = None) -> list[str]:
    """Writes `NAME/SEED/` with SMAC's three files; returns a line about each trial that is no part of the space.

    Costs are the objectives in the study's order, those that are maximised negated, as SMAC itself minimises all.

    Args:
        out: where they are written.
        run: the study.
        log: its events.
        home: where they will lie, which SMAC writes down; None is there.
    """
    log, spec = list(log), run.study.spec
    space = space_of(run, log)
    times = times_of(log)
    evaluated, left_out = [], []
    for trial in run.trials:
        if not trial.state.is_finished:
            left_out.append(f"trial {trial.trial_id} is left out: it has not ended")
        elif (config := inside(space, trial)) is None:
            left_out.append(f"trial {trial.trial_id} is left out: its config is no part of the space")
        else:
            evaluated.append(_evaluated(spec, trial, config, times.get(trial.trial_id)))
    write_run_folder(
        out,
        space,
        evaluated,
        name=spec.name,
        objectives=list(spec.objectives),
        budgets=(spec.fidelity.min_fidelity, spec.fidelity.max_fidelity) if spec.fidelity else None,
        n_trials=spec.budget.n_trials or len(run.trials),
        seed=spec.seed,
        home=home,
    )
    return left_out


def _evaluated(spec: StudySpec, trial: Trial, config: Configuration, times: Times | None) -> Evaluated:
    is_known = trial.state is TrialState.COMPLETED and all(trial.value(name) is not None for name in spec.objectives)
    result = trial.result
    started, ended = (at.timestamp() for at in times) if times else (0.0, 0.0)
    figures = {name: [m.method, m.quality] for name, m in result.objectives.items()} if result else {}
    return Evaluated(
        config=config,
        costs=costs(spec, [trial])[0].tolist() if is_known else None,
        failure=result.failure.kind if result and result.failure else None,
        budget=trial.fidelity,
        seed=trial.seed,
        seconds=result.seconds if result else 0.0,
        started=started,
        ended=ended,
        more={"trial_id": trial.trial_id, "is_default": trial.is_default, "method_and_quality": figures},
    )
