"""A page follows its study: trials that end, actions that are asked for, a service that starts again."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Request, expect

from service.client import Client
from service.coordinator import Coordinator
from service.schema import Study, StudySpec, StudyState
from service.store import Store
from tests.browser.pages import Site, card, opened_table
from tests.browser.stores import filled, more
from tests.service.fakes import FakeDispatcher
from tests.service.processes import GREENSHIFT, started, wait_until
from tests.service.running import coordinator_of, new_study
from tests.service.served import files, serving, store

pytestmark = pytest.mark.slow

__all__ = ["files", "store"]  # fixtures


# As a browser does when its user turns to another tab.
SEEN = """isSeen => {
    Object.defineProperty(document, "hidden", {value: !isSeen, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


# By the page's own clock, which stands still with the page.
LATER = "() => new Promise((done) => setTimeout(done, 1200))"


class Running:
    """A coordinator on a thread, whose trials end when a test says so."""

    def __init__(self, store: Store, n_trials: int) -> None:
        self.dispatcher = FakeDispatcher(holds=True)
        self.study = new_study(store, budget={"n_trials": n_trials})
        self.coordinator: Coordinator = coordinator_of(self.study, store, self.dispatcher)
        self._thread = threading.Thread(target=self.coordinator.run)

    def __enter__(self) -> Running:
        self._thread.start()
        self.dispatcher.wait_for_submitted(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.coordinator.stop()
        for trial_id in self.dispatcher.held():
            self.dispatcher.cancel(trial_id)
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()


def test_a_page_shows_trials_as_they_end_without_being_loaded_again(browser: Browser, store: Store) -> None:
    with Running(store, 8) as running, serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(running.study.study_id)
        page.evaluate("document.body.dataset.same = 'yes'")
        expect(card(page, "Pareto front")).to_contain_text("No trial has finished")
        for n in range(1, 5):
            running.dispatcher.wait_for_submitted(n)
            running.dispatcher.release()
            expect(page.locator(".tiles").first).to_contain_text(f"{n} of 8")
        expect(card(page, "Pareto front")).to_contain_text("of 3 finished trials are on the front")
        expect(card(page, "Hypervolume")).to_contain_text("from the reference point")
        assert page.evaluate("document.body.dataset.same") == "yes"


def test_pausing_resuming_and_stopping_ask_first_and_are_done(browser: Browser, store: Store) -> None:
    with Running(store, 8) as running, serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(running.study.study_id)
        state = page.locator("h1 .state")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="No, go back").click()
        assert store.requests(running.study.study_id) == []
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("dialog")).to_contain_text("what runs now goes on later")
        page.get_by_role("button", name="Pause it").click()
        expect(page.get_by_text("Pause: asked for.")).to_be_visible()
        expect(state).to_have_text("PAUSED")
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Resume it").click()
        expect(state).to_have_text("RUNNING")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Stop it").click()
        expect(state).to_have_text("STOPPED")
        expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_trial_that_runs_is_cancelled_and_one_that_was_is_tried_again(browser: Browser, store: Store) -> None:
    with Running(store, 8) as running, serving(store) as url, Site.opened(browser, url) as site:
        trial_id = running.dispatcher.held()[0]
        page = site.trial(running.study.study_id, trial_id)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel it").click()
        expect(page.locator("h1 .state")).to_have_text("STOPPED")
        page.get_by_role("button", name="Retry").click()
        page.get_by_role("button", name="Retry it").click()
        expect(page.locator("h1 .state")).to_have_text(re.compile("WAITING|RUNNING"))


def test_who_is_somewhere_by_keyboard_stays_there_when_news_come(browser: Browser, store: Store) -> None:
    study = filled(store, 60)
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        opened_table(page, "Pareto front")
        pause, pick = (
            page.get_by_role("button", name="Pause"),
            page.get_by_role("button", name="pick", exact=True).first,
        )
        for n, place in enumerate((pause, pick), 1):
            place.focus()
            more(store, study, 1000 * n, 2)
            expect(page.locator("#cards")).to_have_attribute("data-trials", str(61 + 2 * n))
            expect(page.locator(".tiles").first).to_contain_text(f"{n_completed(store, study)} of 61")
            expect(place).to_be_focused()


def test_a_page_that_is_not_seen_lets_go_of_its_stream_and_catches_up_later(browser: Browser, store: Store) -> None:
    study = filled(store, 20)
    asked: list[Request] = []
    answered: list[Request] = []
    with serving(store) as url, Site.opened(browser, url) as site:
        site.page.on("request", lambda request: asked.append(request) if "/points" in request.url else None)
        site.page.on("requestfinished", lambda request: answered.append(request) if "/points" in request.url else None)
        page = site.study(study.study_id)
        expect(page.locator("#link")).to_contain_text("live")
        page.evaluate(SEEN, False)

        def is_quiet() -> bool:
            n_asked = len(asked)
            page.evaluate(LATER)
            return n_asked == len(asked) == len(answered)

        # What was asked for before still comes.
        wait_until(is_quiet)
        more(store, study, 1000, 2)
        assert is_quiet()
        page.evaluate(SEEN, True)
        expect(page.locator("#cards")).to_have_attribute("data-trials", "23")


def n_completed(store: Store, study: Study) -> int:
    return store.n_trials(study.study_id)["completed"]


def test_what_cannot_be_is_said_in_the_words_of_the_service(browser: Browser, store: Store) -> None:
    study = filled(store, 20)
    with serving(store) as url, Site.opened(browser, url) as site:
        page = site.study(study.study_id)
        page.get_by_role("button", name="Stop").click()
        store.set_study_state(study.study_id, StudyState.COMPLETED)
        page.get_by_role("button", name="Stop it").click()
        expect(page.get_by_text(re.compile("must not have ended, it is COMPLETED"))).to_be_visible()


def test_a_page_outlives_its_service_and_misses_nothing(browser: Browser, store: Store, free_port: int) -> None:
    study = filled(store, 50)
    with serving(store, free_port) as url:
        window = Site.opened(browser, url)
        site = window.__enter__()
        page = site.study(study.study_id)
        expect(page.locator("#link")).to_contain_text("live")
        expect(page.locator("#cards")).to_have_attribute("data-trials", "51")
    expect(page.locator("#link")).to_contain_text("no connection; trying again")
    more(store, study, 100, 3)
    with serving(store, free_port):
        expect(page.locator("#cards")).to_have_attribute("data-trials", "54")
        expect(page.locator("#link")).to_contain_text("live")
        window.__exit__(None, None, None)


def test_a_real_study_is_seen_from_its_first_trial_to_its_end(
    browser: Browser, tmp_path: Path, artefacts: Path
) -> None:
    quick = StudySpec.load(str(Path(__file__).parents[1] / "service" / "quick.yaml"))
    log = tmp_path / "serve.log"
    command = [*GREENSHIFT, "serve", "--port", "0", "--local-workers", "1", "--out", str(tmp_path / "out")]
    with started(*command, log=log, PYTHONUNBUFFERED="1"):
        wait_until(lambda: re.search(r"Serving at (\S+);", log.read_text()))
        url = re.findall(r"Serving at (\S+);", log.read_text())[0]
        with Client(url) as client, Site.opened(browser, url) as site:
            handle = client.submit(quick.model_dump(mode="json", exclude_none=True), n_trials=6)
            page = site.study(handle.study_id)
            expect(page.locator("h1 .state")).to_have_text("COMPLETED")
            expect(page.locator(".tiles").first).to_contain_text("6 of 6")
            site.seen_in_full()
            page.screenshot(path=artefacts / "real-study.png", full_page=True)
            page = site.trial(handle.study_id, handle.trials()[0].trial_id)
            site.seen_in_full()
            expect(card(page, "Weights of each layer")).to_contain_text("shift layers")
            page.screenshot(path=artefacts / "real-trial.png", full_page=True)
