"""The page of a trial says in each state where that stands, and of each part whether something is still to come."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from service.schema import StudyState, TrialState
from service.store import Store
from tests.browser.pages import Site, card
from tests.service.fakes import completed, failed, trial
from tests.service.served import begin, files, finish, recorded, serving, store

pytestmark = pytest.mark.slow

__all__ = ["files", "store"]  # fixtures
PARTS = ("Figures, and how each is known", "Where its energy went", "Learning curve", "Weights of each layer")
# Of the recorded study 00004 failed, 00005 runs, 00006 waits.
OPEN = [
    ("00005", "It runs: 3 of 20 epochs have ended.", (0, 1, 3)),
    ("00006", "It has not begun: it waits for a free worker.", (0, 1, 2, 3)),
    ("00007", "It waits for a free worker to be tried again, after 1 attempt.", (0, 1, 2, 3)),
]
STILL_TO_COME = (
    "Nothing has been measured yet: figures come when the trial ends.",
    "What the trial spends is known when it ends.",
    "No epoch has ended yet.",
    "Its layers are not known yet: they are told when the trial ends.",
)
CLOSED = [
    ("00004", "diverged: on purpose", "FAILED"),
    ("00005", "It was cut off when its study ended.", "RUNNING"),
    ("00006", "It never began: its study ended first.", "WAITING"),
    ("00008", "It was given up before it began.", "STOPPED"),
    ("00009", "It was given up before it ended; nothing of it counts in the front.", "STOPPED"),
]
NOTHING = (
    "Nothing was measured.",
    "Nothing is known of the energy of this trial.",
    "No epoch ended.",
    "Its worker told nothing of its layers.",
)


def of_all_states(store: Store) -> str:
    """A study with trials in each state; its id."""
    study = recorded(store)
    lost = begin(store, study, "00007")
    store.give_back(lost, "its worker was lost")
    store.add_trial(trial("00008", study_id=study.study_id))
    store.stop_trial(store.trial(study.study_id, "00008"), "not wanted")
    store.stop_trial(begin(store, study, "00009"), "not wanted")
    return study.study_id


def test_a_trial_that_has_not_ended_says_what_it_waits_for_and_what_is_to_come(browser: Browser, store: Store) -> None:
    study_id = of_all_states(store)
    with serving(store) as url, Site.opened(browser, url) as site:
        for trial_id, said, parts in OPEN:
            page = site.trial(study_id, trial_id)
            expect(page.locator("#summary .note").first).to_contain_text(said)
            for part in parts:
                expect(card(page, PARTS[part])).to_contain_text(STILL_TO_COME[part])
        expect(page.locator(".tiles")).to_contain_text("attempt1")
        expect(site.trial(study_id, "00006").locator(".tiles")).to_contain_text("attemptnone yet")
        store.set_study_state(study_id, StudyState.PAUSED)
        expect(page.locator("#summary .note").first).to_contain_text("It waits: its study is paused.")


def test_the_epochs_of_a_trial_are_those_of_all_its_seeds_and_of_the_attempts_that_it_goes_on_from(
    browser: Browser, store: Store
) -> None:
    study = recorded(store, n_seeds=3)
    left = failed("00005", kind="worker_lost", study_id=study.study_id).model_copy(update={"rescued": 1})
    assert store.finish_attempt(left, TrialState.WAITING)
    store.start_attempt(store.trial(study.study_id, "00005"))
    with serving(store) as url, Site.opened(browser, url) as site:
        note = site.trial(study.study_id, "00005").locator("#summary .note").first
        expect(note).to_contain_text("It runs: 3 of 60 epochs have ended.")


def test_a_trial_to_which_nothing_comes_any_more_says_how_it_ended(browser: Browser, store: Store) -> None:
    study_id = of_all_states(store)
    store.set_study_state(study_id, StudyState.STOPPED)
    with serving(store) as url, Site.opened(browser, url) as site:
        for trial_id, said, state in CLOSED:
            page = site.trial(study_id, trial_id)
            expect(page.locator("h1 .state")).to_have_text(state)
            expect(page.locator("#summary .note").first).to_contain_text(said)
            for part, nothing in zip(PARTS, NOTHING, strict=True):
                if (trial_id, part) != ("00005", "Learning curve"):
                    expect(card(page, part)).to_contain_text(nothing)


def test_a_trial_that_lost_its_worker_says_that_nobody_knows_how_long_it_took(browser: Browser, store: Store) -> None:
    study = recorded(store)
    finish(store, study, failed("00007", kind="worker_lost"))
    finish(store, study, completed("00008", error=0.2, deployment_energy=3.0))
    with serving(store) as url, Site.opened(browser, url) as site:
        expect(site.trial(study.study_id, "00007").locator(".tiles").first).to_contain_text("tookunknown")
        page = site.trial(study.study_id, "00008")
        expect(page.locator(".tiles").first).to_contain_text("took2 s")
        expect(page.locator("#summary .note").filter(visible=True)).to_have_count(0)
