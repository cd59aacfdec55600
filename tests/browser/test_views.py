"""Every view of a study and of a trial shows what the service says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from service.client import Client
from service.store import Store
from tests.browser.pages import Site, card, opened_table
from tests.service.fakes import completed, measurement, study_spec
from tests.service.served import finish, serving
from worker.schema import GpuEnergy, TrialResult

Generated = tuple[Store, str, str]


@pytest.fixture(scope="module")
def study(browser: Browser, generated: Generated) -> Iterator[Page]:
    """The page of the study, opened once for all who only look."""
    with Site.opened(browser, generated[2]) as site:
        page = site.study(generated[1])
        # Views that came later would move those below them.
        site.seen_in_full()
        yield page


def test_the_list_of_studies_leads_to_a_study(site: Site, generated: Generated) -> None:
    page = site.studies()
    expect(page.get_by_role("row", name=re.compile("generated RUNNING"))).to_be_visible()
    expect(page.get_by_role("cell", name=generated[1])).to_be_visible()
    page.get_by_role("link", name="generated").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("generated")
    assert page.url.endswith(f"/studies/{generated[1]}")


def test_the_head_of_a_study_says_how_far_it_is(study: Page, generated: Generated) -> None:
    _, study_id, url = generated
    with Client(url) as client:
        status = client.study(study_id).status()
    expect(study.locator(".tiles").first).to_contain_text(f"{status['n_trials']['completed']} of 301")
    expect(study.locator(".tiles").first).to_contain_text(f"{status['hypervolume']:.4g}".split("e")[0][:4])


def test_the_front_is_that_of_the_service_and_says_how_each_figure_is_known(study: Page, generated: Generated) -> None:
    _, study_id, url = generated
    rows = opened_table(study, "Pareto front")
    with Client(url) as client:
        front = [trial.trial_id for trial in client.study(study_id).front()]
    assert [row[0] for row in rows] == [*front, "default"]
    assert all(re.fullmatch(r"0\.\d{4} ± 0\.\d{4} \(measured, evaluation\)", row[1]) for row in rows)
    assert all(row[2].endswith("(≈ estimated, analytic)") for row in rows)
    expect(card(study, "Pareto front")).to_contain_text("the default is the diamond and counted in neither")


def test_trials_below_full_fidelity_can_be_left_out(study: Page) -> None:
    part = card(study, "Pareto front")
    expect(part).to_contain_text(" of 295 finished trials are on the front")
    part.get_by_label("full fidelity only").check()
    expect(part).not_to_contain_text(" of 295 finished trials")
    part.get_by_label("full fidelity only").uncheck()
    expect(part).to_contain_text(" of 295 finished trials are on the front")


def test_what_is_picked_in_the_front_is_highlighted_among_the_configurations(study: Page) -> None:
    first = opened_table(study, "Pareto front")[0][0]
    before = len(opened_table(study, "Configurations"))
    front = card(study, "Pareto front")
    front.get_by_role("button", name="pick", exact=True).first.click()
    expect(front.locator("button[aria-pressed=true]")).to_have_count(1)
    expect(card(study, "Configurations").locator("tbody tr")).to_have_count(before + 1)
    expect(card(study, "Configurations").locator("tbody tr").last).to_contain_text(first)
    front.get_by_role("button", name="Pick nothing").click()
    expect(card(study, "Configurations").locator("tbody tr")).to_have_count(before)


def test_a_range_that_is_drawn_on_an_axis_picks_trials_of_the_front(study: Page) -> None:
    opened_table(study, "Pareto front")
    canvas = card(study, "Configurations").locator("canvas").first
    canvas.wait_for()
    picked = card(study, "Pareto front").locator("button[aria-pressed=true]").first
    # What loads late pushes the chart down under the mouse: a person would draw once more, too.
    for _ in range(10):
        draw_on_first_axis(study, canvas)
        with suppress(AssertionError):
            return expect(picked).to_be_visible(timeout=5_000)
    expect(picked).to_be_visible()


def draw_on_first_axis(page: Page, canvas: Locator) -> None:
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 44, box["y"] + 0.35 * box["height"])
    page.mouse.down()
    for step in range(1, 8):
        page.mouse.move(box["x"] + 44, box["y"] + (0.35 + 0.09 * step) * box["height"])
    page.mouse.up()


def test_hypervolume_is_told_over_trials_time_and_energy(study: Page) -> None:
    rows = opened_table(study, "Hypervolume")
    assert [float(row[3]) for row in rows] == sorted(float(row[3]) for row in rows)
    part = card(study, "Hypervolume")
    for name, words in (("time", "time since the study began"), ("energy", "energy spent"), ("trials", "trials")):
        part.get_by_role("radio", name=name).check()
        expect(part.locator(".plot")).to_have_attribute("aria-label", re.compile(words))


def test_rungs_tell_how_many_were_promoted(study: Page) -> None:
    rows = opened_table(study, "Rungs and promotions")
    assert [row[0] for row in rows] == ["3", "5.3", "10"]
    assert [int(row[-1]) > 0 for row in rows] == [True, True, False]


def test_the_ledger_says_what_was_spent_and_when_that_is_paid_back(study: Page) -> None:
    rows = opened_table(study, "Energy ledger")
    assert {row[0] for row in rows} == {"finished trials"} and {row[3] for row in rows} == {"≈ estimated, codecarbon"}
    part = card(study, "Energy ledger")
    expect(part).to_contain_text("has paid for itself after")
    expect(part).to_contain_text("not measured")
    expect(part.get_by_role("cell", name=re.compile("billion")).first).to_be_visible()


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("Importance of hyperparameters", "≈ Estimated by a model"),
        ("Rank correlation between fidelities", "1: the order at the low fidelity"),
        ("Workers over time", "Workers were idle"),
        ("Configurations", "of all others at full fidelity the newest"),
    ],
)
def test_other_views_are_drawn_and_have_their_figures_as_a_table(study: Page, heading: str, known: str) -> None:
    assert len(opened_table(study, heading)) > 1
    expect(card(study, heading)).to_contain_text(known)
    expect(card(study, heading).locator("canvas").first).to_be_visible()


def test_trials_are_listed_by_state_in_pages(study: Page) -> None:
    part = card(study, "Trials")
    part.scroll_into_view_if_needed()
    expect(part.locator("tbody tr")).to_have_count(25)
    part.get_by_role("button", name="Older").click()
    expect(part).to_contain_text("26 to 50 of 301")
    part.get_by_label("state").select_option("RUNNING")
    expect(part.locator("tbody tr")).to_have_count(3)


def test_a_trial_shows_its_curve_its_layers_and_where_its_figures_come_from(site: Site, generated: Generated) -> None:
    store, study_id, url = generated
    with Client(url) as client:
        trial = store.trial(study_id, client.study(study_id).front()[0].trial_id)
    page = site.trial(study_id, trial.trial_id)
    losses = opened_table(page, "Learning curve")
    assert [float(row[2]) for row in losses] == [pytest.approx(loss, abs=1e-3) for loss in trial.result.training_loss]
    layers = opened_table(page, "Weights of each layer")
    assert [row[0] for row in layers] == [layer.name for layer in trial.result.layers]
    assert "2^-1: " in layers[0][5]
    figures = card(page, "Figures, and how each is known")
    expect(figures.get_by_role("row", name=re.compile("validation error .*measured evaluation"))).to_be_visible()
    expect(figures.get_by_role("row", name=re.compile("deployment energy .*≈ estimated analytic"))).to_be_visible()
    expect(card(page, "Where its energy went")).to_contain_text("≈ estimated, codecarbon")
    expect(card(page, "Configuration")).to_contain_text(str(trial.config["quantizer"]))
    promoted = page.get_by_role("link", name=str(trial.promoted_from))
    expect(promoted).to_have_attribute("href", f"/studies/{study_id}/trials/{trial.promoted_from}")


def test_what_a_meter_read_is_called_measured_with_its_uncertainty(browser: Browser, tmp_path: Path) -> None:
    with Store(tmp_path / "studies.sqlite") as store, serving(store) as url, Site.opened(browser, url) as site:
        study = store.create_study(study_spec(objectives={"error": "minimize", "energy": "minimize"}))
        for trial_id, error, joules in (("default", 0.5, 900.0), ("00001", 0.1, 500.0), ("00002", 0.2, 300.0)):
            finish(store, study, measured(trial_id, error, joules), is_default=trial_id == "default")
        page = site.study(study.study_id)
        rows = opened_table(page, "Pareto front")
        assert [row[2] for row in rows[:2]] == [
            f"{joules} J ± 12 J (measured, nvml_energy_delta)" for joules in (500, 300)
        ]
        ledger = opened_table(page, "Energy ledger")
        assert [(row[2], row[3], row[6]) for row in ledger] == [("A100", "measured, nvml_energy_delta", "1.7 kJ")]
        page = site.trial(study.study_id, "00001")
        expect(card(page, "Where its energy went")).to_contain_text("measured, nvml_energy_delta")
        expect(card(page, "Where its energy went")).to_contain_text("± 12 J")
        expect(card(page, "Figures, and how each is known")).not_to_contain_text("≈ estimated analytic")


def measured(trial_id: str, error: float, joules: float) -> TrialResult:
    """A result whose energy the counter of a GPU has told."""
    gpu = GpuEnergy(uuid="GPU-1", method="nvml_energy_delta", quality="measured", uncertainty_joules=12.0)
    how = {"method": "nvml_energy_delta", "quality": "measured"}
    result = completed(
        trial_id,
        joules=joules,
        objectives={
            "error": measurement(error, "evaluation", "measured", "ratio"),
            "energy": measurement(joules, unit="J", **how),
        },
    )
    assert result.energy is not None
    report = result.energy.model_copy(update={**how, "gpu": gpu, "device": "A100"})
    return result.model_copy(update={"energy": report})


@pytest.mark.parametrize("path", ["/studies/nope", "/studies/nope/trials/1"])
def test_what_is_not_there_is_said(site: Site, path: str) -> None:
    answer = site.page.goto(site.url + path)
    assert answer is not None and answer.status == 404
    expect(site.page.get_by_role("heading", level=1)).to_have_text(re.compile("No (study|trial) here"))
    expect(site.page.get_by_role("alert")).to_contain_text("there is no study 'nope'")
    site.page.get_by_role("link", name="All studies").click()
    expect(site.page.get_by_role("heading", name="Studies")).to_be_visible()
