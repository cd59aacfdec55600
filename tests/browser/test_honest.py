"""Estimates, what was cut off, and what is not there yet are never shown as something else."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from service.schema import Study, StudyState
from service.store import Store, Workers, WorkerStatus
from tests.browser.pages import Site, card, opened_table
from tests.browser.stores import filled
from tests.browser.test_access import HOSTILE
from tests.browser.test_views import measured
from tests.service.fakes import energy_report, study_spec
from tests.service.served import files, finish, serving, store
from worker.schema import TrialResult

pytestmark = pytest.mark.slow

__all__ = ["files", "store"]  # fixtures
ON_ENERGY = {"objectives": {"error": "minimize", "energy": "minimize"}}

# Of points of the first chart, as they are drawn: whether their middle and a place two pixels beside it have a colour.
MIDDLES = """points => {
    const plot = document.querySelector("section.card .plot");
    const chart = echarts.getInstanceByDom(plot);
    const canvas = chart.getRenderedCanvas({ pixelRatio: 4, backgroundColor: "#ffffff" });
    return points.map((point) => {
        const [x, y] = chart.convertToPixel("grid", point).map((at) => Math.round(4 * at));
        const isColoured = (dx) => Math.min(...canvas.getContext("2d").getImageData(x + dx, y, 1, 1).data) < 200;
        return [isColoured(0), isColoured(8)];
    });
}"""
AXIS = "heading => echarts.getInstanceByDom(heading.closest('section').querySelector('.plot')).getOption()"
PLACE = """point => {
    return echarts.getInstanceByDom(document.querySelector("section.card .plot")).convertToPixel("grid", point);
}"""
TIPS = """async () => {
    const said = [];
    for (const plot of document.querySelectorAll("section.card .plot")) {
        const { series } = echarts.getInstanceByDom(plot).getOption();
        if (series[0].type === "parallel") continue;
        const front = series.findIndex(({ id }) => id === "front");
        const seriesIndex = Math.max(front, 0);
        echarts.getInstanceByDom(plot).dispatchAction({ type: "showTip", seriesIndex, dataIndex: 0 });
        const isShown = () => plot.querySelector(".tip b")?.textContent;
        while (!isShown()) await new Promise((done) => setTimeout(done, 20));
        said.push(isShown());
    }
    return said;
}"""
# Where the texts of a chart begin; the chart itself at 0.
LEFTMOST = """heading => {
    const chart = echarts.getInstanceByDom(heading.closest("section").querySelector(".plot"));
    const words = chart.getZr().storage.getDisplayList().filter(({ style }) => /[a-z]{5}/.test(style.text ?? ""));
    return Math.min(...words.map((text) => {
        const box = text.getBoundingRect().clone();
        box.applyTransform(text.getComputedTransform() ?? [1, 0, 0, 1, 0, 0]);
        return box.x;
    }));
}"""
SHOW_HOSTILE = """async (hostile) => {
    const { src } = document.querySelector("script[type=module]");
    const { Energy } = await import(src.replace("study.js", "js/energy.js"));
    const energy = new Energy(document.getElementById("cards"), { study_id: "x" });
    const names = { cause: hostile, worker: hostile, device: hostile, method: hostile, quality: hostile };
    energy.show({ joules: 3, entries: [{ ...names, joules: 3, n_attempts: 1, n_unknown: 0 }] }, null);
    energy.card.chart.dispatchAction({ type: "showTip", seriesIndex: 0, dataIndex: 0 });
    return energy.card.plot.querySelector(".tip").textContent;
}"""


def estimated(trial_id: str, error: float, joules: float) -> TrialResult:
    """A result like that of a meter, but estimated."""
    result = measured(trial_id, error, joules)
    how = {"method": "codecarbon", "quality": "estimated"}
    energy = result.objectives["energy"].model_copy(update=how)
    objectives = {**result.objectives, "energy": energy}
    return result.model_copy(update={"objectives": objectives, "energy": energy_report(joules)})


def of_both(store: Store) -> Study:
    """A study of which some joules were measured and some were estimated; only the first trial is on its front."""
    study = store.create_study(study_spec(**ON_ENERGY))
    store.set_study_state(study.study_id, StudyState.RUNNING)
    finish(store, study, measured("00001", 0.1, 100.0))
    finish(store, study, measured("00002", 0.3, 300.0))
    finish(store, study, estimated("00003", 0.5, 500.0))
    return study


def options(page: Page, heading: str) -> Any:
    return page.get_by_role("heading", name=heading, exact=True).evaluate(AXIS)


def test_a_point_is_hollow_where_one_of_its_figures_is_an_estimate(browser: Browser, store: Store) -> None:
    study = of_both(store)
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        expect(card(page, "Pareto front")).to_contain_text("A hollow mark has a figure that is ≈ estimated")
        middles = page.evaluate(MIDDLES, [[100, 0.1], [300, 0.3], [500, 0.5]])
        assert middles == [[True, True], [True, True], [False, True]]
        names = [name for series in options(page, "Pareto front")["legend"] for name in series["data"]]
        assert len(names) == len(set(names))


def test_of_thousands_of_points_those_with_an_estimate_are_hollow_as_well(browser: Browser, store: Store) -> None:
    study = filled(store, 2500, **ON_ENERGY)
    finish(store, study, measured("a", 0.94, 970.0))
    finish(store, study, measured("c", 0.95, 980.0))
    finish(store, study, estimated("b", 0.95, 900.0))
    with serving(store) as url, Site.opened(browser, url, device_scale_factor=4) as site:
        page = site.study(study.study_id)
        expect(page.locator("#cards")).to_have_attribute("data-trials", "2504")
        seen = Image.open(io.BytesIO(page.locator("canvas").first.screenshot())).convert("RGB")
        for joules, is_hollow in ((980.0, False), (900.0, True)):
            x, y = page.evaluate(PLACE, [joules, 0.95])
            middle, edge = (seen.getpixel((round(4 * (x + dx)), round(4 * y))) for dx in (0, 1.5))
            assert (min(middle) > 200, min(edge) > 200) == (is_hollow, False)


def test_the_legend_names_only_what_has_a_point_and_ties_are_counted(browser: Browser, store: Store) -> None:
    study = store.create_study(study_spec(**ON_ENERGY))
    finish(store, study, measured("00001", 0.5, 100.0), fidelity=3.0, is_full=False)
    for trial_id, error, joules in (("00002", 0.1, 100.0), ("00003", 0.1, 100.0), ("00004", 0.05, 300.0)):
        finish(store, study, measured(trial_id, error, joules))
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        expect(card(page, "Pareto front")).to_contain_text(
            "3 of 4 finished trials are on the front (2 distinct points)."
        )
        names = [name for series in options(page, "Pareto front")["legend"] for name in series["data"]]
        assert names == ["fidelity 3", "front", "the default", "picked"]


def test_joules_that_were_measured_and_estimates_stand_side_by_side(browser: Browser, store: Store) -> None:
    study = of_both(store)
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        expect(page.locator(".tiles").first).to_contain_text("400 J" + "measured" + " + " + "500 J" + "≈\xa0estimated")
        card(page, "Energy ledger").scroll_into_view_if_needed()
        expect(card(page, "Energy ledger")).to_contain_text("400 Jmeasured + 500 J≈\xa0estimated")
        expect(card(page, "Energy ledger").locator(".plot")).to_have_attribute(
            "aria-label", "Energy by cause: finished trials 400 J measured + 500 J ≈\xa0estimated."
        )
        rows = opened_table(page, "Hypervolume")
        assert [row[2] for row in rows] == ["100 J measured", "400 J measured + 500 J ≈ estimated"]
        card(page, "Hypervolume").get_by_role("radio", name="energy").check()
        expect(card(page, "Hypervolume")).to_contain_text("Spent: 400 J measured + 500 J ≈\xa0estimated.")
        (axis,) = options(page, "Hypervolume")["xAxis"]
        assert axis["name"] == "energy spent (measured + ≈\xa0estimated)"


def test_a_hypervolume_has_the_unit_of_a_product_that_is_not_normalised(browser: Browser, store: Store) -> None:
    study = of_both(store)
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        expect(page.locator(".tiles").first).to_contain_text("hypervolume, ratio × J")
        expect(card(page, "Hypervolume")).to_contain_text("as they are (ratio × J), not normalised")
        (axis,) = options(page, "Hypervolume")["yAxis"]
        assert axis["name"] == "hypervolume, ratio × J"


def test_what_a_study_cut_off_does_not_run(browser: Browser, store: Store) -> None:
    study = filled(store, 30)
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        opened_table(page, "Workers over time")
        assert "running now" in options(page, "Workers over time")["yAxis"][0]["data"]
        store.set_study_state(study.study_id, StudyState.FAILED, "the scheduler was lost")
        expect(page.locator("h1 .state")).to_have_text("FAILED")
        expect(page.locator("#link")).to_have_text("○ nothing more to come")
        page.reload()
        expect(page.locator(".tiles").first).to_contain_text("cut off3")
        opened_table(page, "Workers over time")
        rows = options(page, "Workers over time")["yAxis"][0]["data"]
        assert "cut off" in rows and "running now" not in rows
        opened_table(page, "Rungs and promotions")
        expect(card(page, "Rungs and promotions").get_by_role("columnheader", name="cut off")).to_be_visible()
        card(page, "Trials").scroll_into_view_if_needed()
        expect(card(page, "Trials").get_by_text("cut off when its study ended")).to_have_count(3)
        expect(site.studies().get_by_role("cell", name="3 cut off")).to_be_visible()


def test_a_study_that_ran_nothing_says_of_each_view_what_will_come(browser: Browser, store: Store) -> None:
    study = store.create_study(study_spec(name="new"))
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        site.seen_in_full()
        parts = page.locator("section.card")
        assert parts.count() == 9
        for part in parts.all():
            expect(part).to_contain_text(re.compile(r" yet(: .+)?\."))
        assert page.locator("canvas").filter(visible=True).count() == 0
        expect(page.locator(".tiles").first).to_contain_text("nothing yet")


def test_only_the_clock_of_the_service_says_how_long_a_trial_runs(browser: Browser, store: Store) -> None:
    study = filled(store, 20)
    Workers(store).record([WorkerStatus(f"tcp://w{i}:1", f"gpu-{i}", "GPU", 1, 1) for i in range(2)])
    with serving(store) as url, Site.opened(browser, url) as site:
        site.page.add_init_script("const late = Date.now() + 1e10; Date.now = () => late;")
        page = site.study(study.study_id)
        opened_table(page, "Workers over time")
        expect(card(page, "Workers over time")).to_contain_text(
            re.compile(r"2 workers of the service are there, as it saw \d+ s ago\.")
        )
        ends = [row[2] for series in options(page, "Workers over time")["series"] for row in series["data"]]
        assert max(ends) < (datetime.now(UTC).timestamp() + 60) * 1000


def test_times_have_their_zone(browser: Browser, store: Store) -> None:
    study = filled(store, 20)
    with (
        serving(store) as url,
        Site.opened(browser, url, timezone_id="Asia/Kathmandu", locale="en-GB") as site,
    ):
        page = site.study(study.study_id)
        expect(page.locator("#summary")).to_contain_text("GMT+5:45")
        opened_table(page, "Workers over time")
        assert options(page, "Workers over time")["xAxis"][0]["name"] == "time (GMT+5:45)"
        expect(site.studies().get_by_text("GMT+5:45")).to_be_visible()


def test_every_tooltip_is_made_of_elements(site: Site, generated: tuple[Store, str, str]) -> None:
    page = site.study(generated[1])
    site.seen_in_full()
    said = page.evaluate(TIPS)
    assert len(said) == 7 and all(said)
    assert page.evaluate(SHOW_HOSTILE, HOSTILE) == f"{HOSTILE}3 J ({HOSTILE})"
    assert page.locator("img").count() == 0


def test_names_of_axes_are_not_cut_in_a_narrow_window(browser: Browser, generated: tuple[Store, str, str]) -> None:
    for width in (360, 500, 720):
        with Site.opened(browser, generated[2], width=width) as site:
            page = site.study(generated[1])
            opened_table(page, "Configurations")
            heading = page.get_by_role("heading", name="Configurations", exact=True)
            assert heading.evaluate(LEFTMOST) >= 8
