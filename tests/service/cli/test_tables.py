from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from service.cli.live import front_table
from service.cli.tables import add_row, column, print_table, table_of
from service.cli.trials import show
from service.schema import Study, StudyState
from service.study_run import StudyRun
from tests.service.fakes import completed, failed, study_spec, trial
from worker.schema import Failure, FailureKind, Measurement

CONFIG = {"quantizer": "deepshift-ps", "weight_bits": 5, "activation_integer_bits": 16, "optimizer": "rmsprop"}
REASON = "[Errno 28] No space left on device: /scratch/greenshift/checkpoints/1b87c83db49e/00002"


def energy(value: float) -> dict[str, Measurement]:
    return {
        "error": Measurement(value=0.8432, unit="ratio", method="evaluation", quality="measured"),
        "deployment_energy": Measurement(value=value, unit="J / image", method="analytic", quality="estimated"),
        "energy": Measurement(value=37.3, unit="J", method="codecarbon", quality="estimated"),
    }


def study() -> StudyRun:
    """One trial on the front, the default, and one that failed."""
    of: dict[str, Any] = {"config": CONFIG, "shift_depth": 10, "epochs": 20}
    full = completed("00001", objectives=energy(7.08e-7)).model_copy(update={"worker": "node17-gpu3"})
    lost = failed("00002").model_copy(update={"failure": Failure(kind=FailureKind.CRASHED, message=REASON)})
    default = completed("default", objectives=energy(1.24e-6))
    trials = [
        trial("default", default, is_default=True, **of), trial("00001", full, **of), trial("00002", lost, **of)
    ]  # fmt: skip
    known = Study(
        study_id="s", spec=study_spec(), state=StudyState.RUNNING, created_at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    return StudyRun(known, trials)


def console(width: int | None) -> Console:
    """A terminal so wide, or a file."""
    return Console(file=io.StringIO(), force_terminal=width is not None, width=width, color_system=None, markup=False,
                   highlight=False)  # fmt: skip


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_trials_of_a_study_fit_a_terminal_without_breaking_a_word() -> None:
    terminal = console(80)
    show(study(), terminal)
    lines = printed(terminal)
    assert max(map(len, lines)) <= 80
    words = [word for line in lines for word in line.split()]
    for whole in ("COMPLETED", "deployment", "1.24", "deepshift-ps", "a16+16", "rmsprop", "node17-gpu3"):
        assert whole in words
    assert " ".join(words).endswith(f"00002 crashed: {REASON}")


def test_the_front_fits_a_terminal_with_a_line_a_network() -> None:
    terminal = console(80)
    print_table(front_table(study(), None), console=terminal)
    lines = printed(terminal)
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if "deepshift" in line] == [
        ["00001", "0.8432", "708", "nJ", "37.3", "J", "deepshift-ps", "w5", "a16+16", "rmsprop"],
        ["default", "0.8432", "1.24", "µJ", "37.3", "J", "deepshift-ps", "w5", "a16+16", "rmsprop"],
    ]


def test_in_a_file_every_row_is_one_bare_line() -> None:
    file = console(None)
    show(study(), file)
    lines = printed(file)
    assert [line.split()[0] for line in lines] == ["trial", "default", "00001", "00002"]
    assert "deployment energy per image" in lines[0] and "1.24 µJ  deepshift-ps" in lines[1]
    assert lines[3].endswith(f"crashed: {REASON}")
    assert [line for line in lines if line != line.rstrip() or not line.isprintable()] == []
    assert not set("┃│━─…") & set("".join(lines))


@pytest.mark.parametrize("width", [None, 80])
def test_a_table_without_rows_says_so(width: int | None) -> None:
    shown = console(width)
    print_table(table_of(column("name")), empty="There is nothing.", console=shown)
    assert printed(shown) == ["There is nothing."]


@pytest.mark.parametrize("width", [None, 80])
def test_nothing_in_a_cell_is_markup(width: int | None) -> None:
    shown, table = console(width), table_of(column("name"))
    add_row(table, "[red]laptop[/red] :cat:")
    print_table(table, console=shown)
    assert printed(shown)[1].rstrip() == "[red]laptop[/red] :cat:"
