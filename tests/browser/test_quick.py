"""A study of ten thousand trials is seen at once, and what is new is drawn without a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Request, Response, Route, expect

from service.store import Store
from tests.browser.pages import Site
from tests.browser.stores import filled, more
from tests.service.served import files, recorded, serving, store

pytestmark = pytest.mark.slow

__all__ = ["files", "store"]  # fixtures
N_TRIALS = 10_000
# Milliseconds of a processor, which other programs of the machine do not change; it takes 30 to 45 on a slow one.
MOST_AT_ONCE = 80
# By the page's own clock, which stands still with the page.
LATER = "pause => new Promise((done) => setTimeout(done, pause))"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with a study of that many trials."""
    path = tmp_path_factory.mktemp("large") / "studies.sqlite"
    with Store(path) as store:
        filled(store, N_TRIALS)
    return path


def test_a_page_is_of_four_files_and_its_data_is_asked_for_first(browser: Browser, store: Store) -> None:
    study = recorded(store)
    asked: list[str] = []
    with serving(store) as url, Site.opened(browser, url) as site:
        site.page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[1]))
        site.study(study.study_id)
        expect(site.page.locator("#link")).to_contain_text("live")
    files = [name for name in asked if name.endswith((".js", ".css", ".svg"))]
    assert sorted(files) == ["echarts.min.js", "icon.svg", "study.js", "style.css"]
    assert asked.index("points?after=0&limit=1000") <= 6


def test_data_is_asked_for_while_the_charts_are_still_loaded(browser: Browser, store: Store) -> None:
    study = recorded(store)
    held: list[Route] = []

    def release(request: Request) -> None:
        if "/points" in request.url and held:
            held.pop().continue_()

    with serving(store) as url, Site.opened(browser, url) as site:
        site.page.route("**/echarts.min.js", lambda route: held.append(route))
        site.page.on("request", release)
        site.page.goto(f"{url}/studies/{study.study_id}", wait_until="commit")
        expect(site.page.locator("#cards canvas").first).to_be_visible()


def test_of_ten_thousand_trials_only_what_is_new_is_sent(browser: Browser, large: Path) -> None:
    sent: list[Response] = []
    with Store(large) as store, serving(store) as url, Site.opened(browser, url) as site:
        (study,) = store.studies()
        site.page.on("response", lambda answer: sent.append(answer) if "/points" in answer.url else None)
        page = site.study(study.study_id)
        # The first view is of a part, and comes before the others have been read.
        assert len(sent[0].json()["trial_id"]) == 1000
        expect(page.locator("#cards")).to_have_attribute("data-trials", "10001")
        assert sum(len(answer.body()) for answer in sent) < 5_000_000
        n_before = len(sent)
        more(store, study, 20_000, 3)
        expect(page.locator("#cards")).to_have_attribute("data-trials", "10004")
        new = [answer.json() for answer in sent[n_before:]]
        assert sum(len(document["trial_id"]) for document in new) <= 9
        assert max(len(json.dumps(document)) for document in new) < 20_000
        assert page.locator("section.card").count() == 9
        assert page.locator("tbody tr").count() < 300


def test_a_few_new_trials_among_ten_thousand_are_drawn_in_short_tasks(browser: Browser, large: Path) -> None:
    with Store(large) as store, serving(store) as url, Site.opened(browser, url) as site:
        (study,) = store.studies()
        page = site.study(study.study_id)
        n_trials = sum(store.n_trials(study.study_id).values())
        expect(page.locator("#cards")).to_have_attribute("data-trials", str(n_trials))
        page.evaluate(LATER, 3000)
        browser.start_tracing(page=page, categories=["disabled-by-default-devtools.timeline"])
        for n in (1, 2, 3):
            more(store, study, 30_000 + 10 * n, 3)
            expect(page.locator("#cards")).to_have_attribute("data-trials", str(n_trials + 3 * n))
            page.evaluate(LATER, 500)
        assert max(tasks(json.loads(browser.stop_tracing())["traceEvents"])) < MOST_AT_ONCE


def tasks(events: list[dict[str, Any]]) -> list[float]:
    """What each task of pages took of a processor, in milliseconds."""
    named = [event for event in events if event["name"] == "thread_name"]
    pages = {(each["pid"], each["tid"]) for each in named if each["args"]["name"] == "CrRendererMain"}
    done = [event for event in events if event["name"] == "RunTask"]
    return [event["tdur"] / 1000 for event in done if (event["pid"], event["tid"]) in pages and "tdur" in event]
