"""What a page says while a service cannot answer, or does not let its user in; and that it asks again by itself."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import Browser, Page, expect

from service.api.rates import Rates
from service.store import Store, Tokens
from tests.browser.pages import Site, card
from tests.service.served import files, recorded, serving, store

pytestmark = pytest.mark.slow

__all__ = ["files", "store"]  # fixtures
PATHS = ["/", "/studies/{}", "/studies/{}/trials/00001"]


def shows(page: Page) -> None:
    """Waits until the page is as it is if all is well."""
    expect(page.locator(".trouble")).to_have_count(0)
    expect(page.locator(".state").first).to_be_visible()


@pytest.mark.parametrize("path", PATHS)
def test_a_store_that_cannot_be_used_is_asked_again(browser: Browser, store: Store, path: str) -> None:
    study = recorded(store)
    rename(store, "studies", "gone")
    with serving(store) as url, Site.opened(browser, url) as site:
        answer = site.page.goto(url + path.format(study.study_id))
        assert answer is not None and answer.status == 200
        expect(site.page.get_by_role("heading", name="The service cannot answer yet")).to_be_visible()
        expect(site.page.get_by_role("alert")).to_contain_text("its store cannot be used for now")
        expect(site.page.locator(".trouble")).to_contain_text("Next try in 5 s")
        assert "No study here" not in site.page.content() and site.barriers() == []
        rename(store, "gone", "studies")
        shows(site.page)


def test_too_many_requests_are_made_again_when_the_service_takes_them(
    browser: Browser, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, is_empty, take = recorded(store), threading.Event(), Rates.take
    # The bucket of this caller is empty for as long as the test says.
    monkeypatch.setattr(Rates, "take", lambda rates, caller: 0.5 if is_empty.is_set() else take(rates, caller))
    with serving(store, requests_per_second=2) as url, Site.opened(browser, url) as site:
        is_empty.set()
        site.page.goto(f"{url}/studies/{study.study_id}")
        expect(site.page.get_by_role("heading", name="Too many requests at once")).to_be_visible()
        expect(site.page.locator(".trouble")).to_contain_text("Next try in 1 s")
        is_empty.clear()
        shows(site.page)
        for heading, said in (("Rungs and promotions", "Each bar is a fidelity"), ("Hypervolume", "reference point")):
            expect(card(site.page, heading)).to_contain_text(said)


def test_a_service_that_comes_back_is_found(browser: Browser, store: Store) -> None:
    study = recorded(store)
    with serving(store) as url, Site.opened(browser, url) as site:
        site.page.route("**/api/**", lambda route: route.abort("connectionrefused"))
        site.page.goto(f"{url}/studies/{study.study_id}")
        expect(site.page.get_by_role("heading", name="The service does not answer")).to_be_visible()
        site.page.unroute("**/api/**")
        shows(site.page)


def test_a_token_that_is_revoked_under_a_page_is_asked_for_anew(browser: Browser, store: Store, free_port: int) -> None:
    study, tokens = recorded(store), Tokens(store)
    secret = tokens.create_token("laptop")
    with Site.opened(browser, f"http://127.0.0.1:{free_port}") as site:
        with serving(store, free_port, require_token=True) as url:
            site.page.goto(f"{url}/studies/{study.study_id}")
            site.page.get_by_label("Token").fill(secret)
            site.page.keyboard.press("Enter")
            expect(site.page.locator("#link")).to_contain_text("live")
            tokens.revoke_token("laptop")
        with serving(store, free_port, require_token=True):
            expect(site.page.get_by_role("heading", name="A token, please")).to_be_visible()


def rename(store: Store, before: str, after: str) -> None:
    store.database.write(lambda connection: connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}"))
