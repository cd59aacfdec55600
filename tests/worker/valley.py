"""A task as a package of the user's own would bring it: slide down a valley, far enough and not too fast."""

from __future__ import annotations

from ConfigSpace import Categorical, ConfigurationSpace, Float

from worker.tasks import Evaluation, Task, TaskFidelity, TaskObjective

SPACE = ConfigurationSpace()
SPACE.add(Float("rate", (0.01, 0.9), default=0.5), Categorical("start", [2.0, 8.0], default=8.0))


def slide(evaluation: Evaluation) -> dict[str, float]:
    """As many steps as the fidelity says, each by a share `rate` of the way that is left."""
    rate, n_steps = evaluation.config["rate"], round(evaluation.fidelity)
    first, position = 1, evaluation.config["start"]
    if evaluation.earlier is not None:
        n_done, place = evaluation.earlier.decode().split()
        first, position = 1 + int(n_done), float(place)
    for step in range(first, n_steps + 1):
        position *= 1 - rate
        evaluation.report(step, position**2)
    evaluation.keep(f"{n_steps} {position}".encode())
    if evaluation.model_path is not None:
        evaluation.model_path.write_text(str(position))
    return {"height": position**2, "calm": 1 - rate}


valley = Task(
    slide,
    space=SPACE,
    objectives={
        "height": TaskObjective(direction="minimize", unit="m"),
        "calm": TaskObjective(direction="maximize", quality="estimated"),
    },
    fidelity=TaskFidelity(min_fidelity=1, max_fidelity=9),
)
