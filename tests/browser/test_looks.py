"""Every page can be read by everybody: in both schemes, on a phone, by keyboard, and by who hears it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from service.store import Store
from tests.browser.pages import Site, card
from tests.service.processes import wait_until

pytestmark = pytest.mark.slow

Generated = tuple[Store, str, str]
# Each page in both schemes, and on a phone.
LOOKS = [
    ("studies", "light", 360),
    ("studies", "dark", 1280),
    ("study", "light", 1280),
    ("study", "dark", 1280),
    ("study", "light", 360),
    ("trial", "light", 1280),
    ("trial", "dark", 360),
]


def show(site: Site, name: str, study_id: str) -> None:
    if name == "studies":
        site.studies()
    elif name == "study":
        site.study(study_id)
    else:
        site.trial(study_id, "00010")
    site.seen_in_full()


@pytest.mark.parametrize(("name", "scheme", "width"), LOOKS)
def test_a_page_has_no_barrier_and_fits(
    browser: Browser, generated: Generated, artefacts: Path, name: str, scheme: str, width: int
) -> None:
    with Site.opened(browser, generated[2], width=width, color_scheme=scheme) as site:
        show(site, name, generated[1])
        site.page.screenshot(path=artefacts / f"{name}-{scheme}-{width}.png", full_page=True)
        assert site.page.evaluate("document.documentElement.scrollWidth") <= width
        assert site.barriers() == []


def test_the_scheme_of_the_system_changes_charts_as_well(browser: Browser, generated: Generated) -> None:
    with Site.opened(browser, generated[2], color_scheme="light") as site:
        canvas = card(site.study(generated[1]), "Pareto front").locator("canvas").first
        before = canvas.screenshot()
        site.page.emulate_media(color_scheme="dark")
        wait_until(lambda: canvas.screenshot() != before)


def test_the_keyboard_reaches_the_content_the_figures_and_the_actions(site: Site, generated: Generated) -> None:
    page = site.study(generated[1])
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="No, go back")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    summary = card(page, "Pareto front").locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    pick = card(page, "Pareto front").get_by_role("button", name="pick", exact=True).first
    pick.focus()
    page.keyboard.press("Enter")
    expect(card(page, "Pareto front").locator("button[aria-pressed=true]")).to_have_count(1)
