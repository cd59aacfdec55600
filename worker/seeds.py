"""Several networks of one trial, which differ in their seeds alone: trained one after the other, told as one result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean

from worker import trial
from worker.checkpoint import checkpoint_of_seed
from worker.energy.devices import pick_device
from worker.energy.merge import merge_reports
from worker.energy.meter import EnergyMeter
from worker.errors import StoppedError
from worker.objectives import SPENT
from worker.rescue import Rescued, Unfinished, find_rescued, save_rescued
from worker.schema import EpochMetrics, InferenceEnergy, Interim, Leg, Measurement, TrialResult, TrialSpec


def run_seeds(
    spec: TrialSpec,
    on_interim: Callable[[Interim], None] = lambda _: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrialResult:
    """Trains the networks of `spec`: seeds `seed`, `seed + 1`, ..., each exactly as a trial of its own would be.

    What a trial spends is the sum over its seeds, every other objective the mean; either is unknown where one seed's
    is, or where seeds were read in different ways. The weights are those of the first seed. What was told to stop
    leaves all that it has trained where `spec` says, and what an earlier attempt left there is gone on with.

    Args:
        spec: what to train.
        on_interim: is given what is known by now of all seeds together.
        on_epoch: is given the metrics of each epoch, which are counted on from seed to seed.
        should_stop: as in `worker.trial.run`.

    Raises:
        WorkerError: that of the first seed that fails; the seeds after it are not trained.
    """
    started = time.monotonic()

    def make_meter() -> EnergyMeter:
        return trial.make_meter(pick_device(), spec.site)

    rescued = find_rescued(spec, make_meter)
    results, unfinished = list(rescued.finished), rescued.unfinished
    before = {"seconds_before": rescued.seconds, "rescued": spec.rescued}
    latest = Interim(earlier_legs=rescued.legs, **before)
    on_interim(latest)

    def tell(interim: Interim) -> None:
        nonlocal latest
        latest = _merge([*map(_interim, results), interim]).model_copy(update=before)
        on_interim(latest)

    def tell_epoch(metrics: EpochMetrics) -> None:
        on_epoch(metrics.model_copy(update={"epoch": len(results) * spec.epochs + metrics.epoch}))

    while len(results) < spec.n_seeds:
        of_seed, left = _of_seed(spec, len(results)), list[Unfinished]()
        try:
            result = trial.run(of_seed, tell, tell_epoch, should_stop, unfinished=unfinished, on_stop=left.append)
        except StoppedError:
            so_far = Rescued(
                trial_id=spec.trial_id,
                seconds=rescued.seconds + time.monotonic() - started,
                finished=tuple(map(_as_legs, results)),
                unfinished=left[0] if left else unfinished,
            )
            has_advanced = bool(left) or len(results) > len(rescued.finished)
            if has_advanced and save_rescued(so_far, spec, make_meter):
                on_interim(latest.model_copy(update={"rescued": spec.attempt}))
            raise
        results.append(result)
        unfinished = None
    whole = results[0] if spec.n_seeds == 1 else _combine(results)
    return whole.model_copy(update={"attempt": spec.attempt, "seconds_before": rescued.seconds})


def _as_legs(result: TrialResult) -> TrialResult:
    """The result of a seed for a later attempt, of which what this one spent is a leg."""
    if result.energy is None:
        return result
    n_before = sum(leg.epochs for leg in result.earlier_legs if leg.trial_id == result.trial_id)
    leg = Leg.of(result.trial_id, len(result.training_loss) - n_before, result.energy)
    return result.model_copy(update={"earlier_legs": (*result.earlier_legs, leg), "energy": None, "inference": None})


def _of_seed(spec: TrialSpec, index: int) -> TrialSpec:
    """The spec of one network: a seed, checkpoints of its own, and weights kept for the first one."""
    return spec.model_copy(
        update={
            "n_seeds": 1,
            "seed": spec.seed + index,
            "resume_from": checkpoint_of_seed(spec.resume_from, index),
            "checkpoint_to": checkpoint_of_seed(spec.checkpoint_to, index),
            "model_path": spec.model_path if index == 0 else None,
        }
    )


def _interim(result: TrialResult) -> Interim:
    return Interim(energy=result.energy, inference=result.inference, earlier_legs=result.earlier_legs)


def _merge(parts: Sequence[Interim]) -> Interim:
    energies = [part.energy for part in parts if part.energy is not None]
    inferences = [part.inference for part in parts if part.inference is not None]
    return Interim(
        energy=merge_reports(energies) if energies else None,
        inference=_merge_inferences(inferences) if inferences else None,
        earlier_legs=tuple(leg for part in parts for leg in part.earlier_legs),
    )


def _merge_inferences(parts: Sequence[InferenceEnergy]) -> InferenceEnergy:
    """The mean over seeds, with all that was spent on it."""
    mean = _combine_one("inference_energy", [part.measurement for part in parts])
    uncertainties = [part.uncertainty_joules_per_image for part in parts]
    return InferenceEnergy(
        joules_per_image=mean.value,
        uncertainty_joules_per_image=None
        if None in uncertainties
        else fmean(u for u in uncertainties if u is not None),
        n_images=parts[0].n_images,
        n_passes=sum(part.n_passes for part in parts),
        report=merge_reports([part.report for part in parts]),
    )


def _combine(results: Sequence[TrialResult]) -> TrialResult:
    by_seed = tuple(result.objectives for result in results)
    int8 = [r.int8_deployment_energy for r in results if r.int8_deployment_energy is not None]
    together = {
        "objectives": {name: _combine_one(name, [m[name] for m in by_seed]) for name in by_seed[0]},
        "by_seed": by_seed,
        "int8_deployment_energy": _combine_one("int8_deployment_energy", int8) if int8 else None,
        "training_loss": tuple(loss for result in results for loss in result.training_loss),
    }
    return results[0].model_copy(update=together | dict(_merge([_interim(result) for result in results])))


def _combine_one(name: str, parts: Sequence[Measurement]) -> Measurement:
    """The sum or the mean of one objective over seeds."""
    first = parts[0]
    values = [part.value for part in parts if part.value is not None]
    is_one_way = all((part.method, part.quality) == (first.method, first.quality) for part in parts)
    if len(values) < len(parts) or not is_one_way:
        return Measurement(value=None, unit=first.unit, method="none", quality="none")
    return first.model_copy(update={"value": sum(values) if name in SPENT else fmean(values)})
