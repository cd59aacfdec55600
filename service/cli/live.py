"""A running study on the terminal: how far it is, what was found, and at the end the Pareto table."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service.cli.tables import add_row, amounts, column, narrowed, print_table, table_of, text_console
from service.ranking import volume
from service.report.tables import shown_objectives
from service.report.words import amount, caveat, extent, found, provenance, recipe, title, with_integers
from service.schema import StudySpec, Trial, TrialState
from service.study_run import StudyRun

_N_ROWS = 10
_N_RUNNING = 4
# Shown beside the objectives, so that neither is mistaken for the other.
_BESIDE = ("energy", "deployment_energy")


class LiveView:
    """Shows a study while it runs: redrawn in place on a terminal, a line a finished trial elsewhere.

    Args:
        spec: of the study.
        console: where to; None is standard output.
    """

    def __init__(self, spec: StudySpec, console: Console | None = None) -> None:
        self._spec = spec
        self._console = console or text_console()
        self._live = Live(
            console=self._console,
            transient=True,
            redirect_stderr=False,
        )
        self._reported: set[str] = set()

    def __enter__(self) -> LiveView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def waits(self, why: str) -> None:
        """Shows what is waited for, before there is anything else."""
        if self._console.is_terminal:
            self._live.update(Text(why))
        else:
            self.say(why)

    def say(self, line: str) -> None:
        """Prints a line that stays, above what is redrawn."""
        self._console.print(Text(line), soft_wrap=True)

    def show(self, run: StudyRun) -> None:
        """Draws the study as it stands."""
        if self._console.is_terminal:
            self._live.update(
                Group(self._status(run), *_running(run), narrowed(front_table(run, _N_ROWS), self._console.width))
            )
            return
        for trial in run.trials:
            if trial.state.is_finished and trial.trial_id not in self._reported:
                self._reported.add(trial.trial_id)
                self.say(self._line(trial, run))

    def conclude(self, run: StudyRun, folder: Path | None = None) -> None:
        """Prints the result: the table, how its figures came about, and where the files are if there are any."""
        self._console.print("Pareto front", style="bold")
        print_table(front_table(run, None), console=self._console)
        self._say_in_lines(caveat(run.trials))
        self._say_in_lines(f"{found(run.study.spec, run.trials)} {with_integers(run.trials)}".strip())
        self._say_in_lines(self._status(run).plain)
        if folder is not None:
            self.say(f"Report: {folder / 'report.html'}")

    def _say_in_lines(self, text: str) -> None:
        """Prints a text, broken between words on a terminal alone."""
        self._console.print(Text(text), soft_wrap=not self._console.is_terminal)

    def _status(self, run: StudyRun) -> Text:
        """One line: how far the study is."""
        n = {state: sum(t.state is state for t in run.trials) for state in TrialState}
        limit = self._spec.budget.n_trials
        parts = [
            f"{self._spec.name}: {n[TrialState.COMPLETED]}" + (f" of {limit}" if limit else "") + " trials completed",
            f"{n[TrialState.RUNNING]} running",
            f"{n[TrialState.FAILED]} failed",
        ]
        grown = volume(run.study.spec, run.trials)
        if grown is not None:
            point = ", ".join(f"{value:.3g}" for value in grown.reference_point.values())
            parts.append(f"{run.on_front}, hypervolume {grown.hypervolume:.3g} from ({point})")
        return Text(", ".join(parts))

    def _line(self, trial: Trial, run: StudyRun) -> str:
        limit = self._spec.budget.n_trials
        nth = f"{len(self._reported)} of {limit}" if limit else str(len(self._reported))
        values = ", ".join(f"{title(name)} {amount(trial.measurement(name))}" for name in run.study.spec.objectives)
        failure = trial.result.failure if trial.result else None
        outcome = f"{failure.kind}: {failure.message}" if failure else values
        return f"[{nth}] trial {trial.trial_id} {trial.state} ({extent(trial)}): {outcome}"


def _running(run: StudyRun) -> list[Text]:
    """A line for each of the first trials that run, and how far they are."""
    running = [trial for trial in run.trials if trial.state is TrialState.RUNNING]
    lines = [f"trial {trial.trial_id} ({extent(trial)}){_epoch(trial, run)}" for trial in running[:_N_RUNNING]]
    if (n_more := len(running) - len(lines)) > 0:
        lines.append(f"and {n_more} more")
    return [Text(line, style="dim") for line in lines]


def _epoch(trial: Trial, run: StudyRun) -> str:
    n_done = run.epochs.get(trial.trial_id)
    if n_done is None:
        return ""
    n_all = "" if trial.epochs is None else f" of {trial.epochs * run.study.spec.n_seeds}"
    return f": {n_done}{n_all} epochs done"


def front_table(run: StudyRun, n_rows: int | None) -> Table:
    """The front and, as the last rows, what it is compared with; each column says how its figures came about."""
    spec = run.study.spec
    beside = _BESIDE if spec.task is None else _BESIDE[:1]
    names = [name for name in shown_objectives(spec) if name in (*spec.objectives, *beside)]
    best = run.front[:n_rows]
    trials = best + [trial for trial in run.trials if trial.is_default and trial.state is TrialState.COMPLETED]
    figures = [amounts(name, trials) for name in names]
    table = table_of(
        column("trial", is_whole=True),
        *(column(_with_origin(heading, provenance(name, run.trials)), is_number=True)
          for name, (heading, _) in zip(names, figures, strict=True)),
        column("config"),
    )  # fmt: skip
    for i, trial in enumerate(trials):
        style = "red" if i >= len(best) else None
        add_row(table, trial.trial_id, *(cells[i] for _, cells in figures), recipe(trial), style=style)
    return table


def _with_origin(heading: str, origin: str) -> Text:
    return Text.assemble(heading, "\n", (origin, "dim"))
