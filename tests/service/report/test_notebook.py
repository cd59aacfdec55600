from __future__ import annotations

from datetime import UTC, datetime

from service.report.notebook import table
from service.report.palette import rendered
from service.report.parallel import parallel_figure
from service.schema import Study, StudyState
from service.study_run import StudyRun
from tests.service.fakes import CONFIG, failed, full_trial, study_spec, trial

STUDY = Study(
    study_id="s", spec=study_spec(), state=StudyState.FAILED, created_at=datetime(2026, 1, 2, tzinfo=UTC),
    reason="<script>no</script>",
)  # fmt: skip
TRIALS = [
    full_trial("default", 0.3, 9e-7, is_default=True),
    full_trial("00001", 0.1, 3e-7, config=CONFIG | {"optimizer": "<b>adam</b>", "learning_rate": 0.001}),
    full_trial("00002", 0.2, 4e-7, config=CONFIG | {"weight_bits": 5, "learning_rate": 0.2}),
    trial("00003", failed("00003")),
]


def test_a_table_says_state_counts_and_the_front_with_its_origin() -> None:
    text = table(STUDY, TRIALS)
    for said in ("FAILED", "3 COMPLETED, 1 FAILED; 1 on the front", "validation error", "0.1 J (estimated, analytic)"):
        assert said.replace("0.1 J", "100 mJ") in text
    assert text.count("<tr>") == 3


def test_nothing_of_a_study_is_markup() -> None:
    text = table(STUDY, TRIALS)
    assert "<script>" not in text and "<b>" not in text
    assert "&lt;script&gt;no" in text and "&lt;b&gt;adam" in text


def test_a_run_shows_itself_and_its_pictures() -> None:
    run = StudyRun(STUDY, TRIALS)
    assert run._repr_html_() == table(STUDY, TRIALS)
    for figure in (run.plot_front(), run.plot_hypervolume(), run.plot_parallel_coordinates()):
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_parallel_coordinates_show_what_differs_and_the_objectives() -> None:
    text = rendered(parallel_figure(STUDY.spec, TRIALS), "svg").decode()
    for said in ("learning_rate (log)", "weight_bits", "optimizer", "validation error", "deployment energy",
                 "Pareto front", "default (DeepShift-PS"):  # fmt: skip
        assert said in text
    assert "quantizer" not in text


def test_a_study_without_trials_shows_itself() -> None:
    assert "no trial yet; 0 on the front" in table(STUDY, [])
    assert rendered(parallel_figure(STUDY.spec, []), "png")
