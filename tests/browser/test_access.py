"""Who is let in, and that nothing which a user or a worker calls anything becomes markup."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from service.schema import Study
from service.store import Store, Tokens
from tests.browser.pages import Site, card
from tests.service.fakes import completed, failed, study_spec
from tests.service.served import files, finish, recorded, serving, store

pytestmark = pytest.mark.slow

__all__ = ["files", "store"]  # fixtures
HOSTILE = '<img src=x onerror="document.title=1">&amp;{a|b}'


def test_a_token_is_asked_for_kept_in_its_tab_and_sent_for_events_too(browser: Browser, store: Store) -> None:
    study = recorded(store)
    secret = Tokens(store).create_token("laptop")
    with serving(store, require_token=True) as url, Site.opened(browser, url) as site:
        page = site.page
        page.goto(f"{url}/studies/{study.study_id}")
        field = page.get_by_label("Token")
        expect(field).to_be_focused()
        assert site.barriers() == []
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("This is no valid token.")
        field.fill(secret)
        page.get_by_role("button", name="Let me in").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("toy")
        expect(page.locator("#link")).to_contain_text("live")
        assert secret not in page.content() and secret not in page.url
        page.goto(f"{url}/")
        expect(page.get_by_role("link", name="toy")).to_be_visible()
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]


def test_a_token_that_is_revoked_ends_what_is_seen(browser: Browser, store: Store) -> None:
    secret = Tokens(store).create_token("laptop")
    with serving(store, require_token=True) as url, Site.opened(browser, url) as site:
        site.page.goto(f"{url}/")
        site.page.get_by_label("Token").fill(secret)
        site.page.keyboard.press("Enter")
        expect(site.page.get_by_text("There is no study yet")).to_be_visible()
        Tokens(store).revoke_token("laptop")
        site.page.reload()
        expect(site.page.get_by_label("Token")).to_be_visible()


def test_names_and_messages_are_text(browser: Browser, store: Store) -> None:
    study = hostile(store)
    with serving(store) as url, Site.opened(browser, url) as site:
        site.studies()
        page = site.study(study.study_id)
        site.seen_in_full()
        for part in page.locator("details > summary").all():
            if part.is_visible():
                part.click()
        expect(page.get_by_role("link", name=HOSTILE).first).to_be_visible()
        expect(card(page, "Workers over time")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0
        page.get_by_role("link", name=HOSTILE).first.click()
        page = site.trial(study.study_id, "00002")
        site.seen_in_full()
        expect(page.locator(".note.bad")).to_contain_text(HOSTILE)
        expect(card(page, "Configuration")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0
        assert "Trial 00002" in page.title()


def hostile(store: Store) -> Study:
    """A study whose trials, configs, workers, devices and failures are called what no browser should run."""
    study = store.create_study(study_spec(name="hostile"))
    config = {"quantizer": HOSTILE, "weight_bits": 3, HOSTILE: 1}
    for number, trial_id in enumerate((HOSTILE, "00001")):
        done = completed(trial_id, error=0.1 + number, deployment_energy=4.0 - number)
        finish(store, study, done.model_copy(update={"worker": HOSTILE}), config=config | {"weight_bits": number})
    bad = failed("00002")
    assert bad.failure is not None
    shown = bad.failure.model_copy(update={"message": HOSTILE, "traceback": HOSTILE})
    finish(store, study, bad.model_copy(update={"failure": shown, "worker": HOSTILE}), config=config)
    return study
