"""Pages of the dashboard in a real browser: opening them, and what must be so of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
# Only what never comes is waited for so long: a machine that is busy may be slow.
PATIENCE_MS = 120_000
# Playwright gives each browser a new, empty folder for its data.
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_BAD = ("serious", "critical")
# Two frames later what has come near the screen has been noticed: true; false if they do not come in time.
_SCROLL = """([top, milliseconds]) => new Promise((done) => {
    scrollTo(0, top);
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(true))));
    setTimeout(() => done(false), milliseconds);
})"""
# At one moment: the page may draw the table anew.
_CELLS = """bodies => bodies.flatMap(({ rows }) => [...rows]).map((row) =>
    [...row.querySelectorAll("td")].map((cell) => cell.innerText.replaceAll("\u00a0", " ")))"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of the system."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS, timeout=PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Site:
    """One window of a browser on one service.

    Attributes:
        errors: that scripts threw, and what the pages' own policy refused.
        foreign: requests to any other server.
    """

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def opened(
        cls, browser: Browser, url: str, *, width: int = 1280, height: int = 900, **options: Any
    ) -> Iterator[Site]:
        """A new window, of which nothing may fail unseen."""
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        site = cls(context.new_page(), url)
        site.page.on("pageerror", lambda error: site.errors.append(str(error)))
        site.page.on("console", lambda message: site._heard(message.type, message.text))
        site.page.on("request", lambda request: site._asked(request.url))
        try:
            yield site
            assert not site.errors, site.errors
            assert not site.foreign, site.foreign
        finally:
            context.close()

    def _heard(self, kind: str, text: str) -> None:
        # A request that fails is said by the page itself.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.errors.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.foreign.append(url)

    def study(self, study_id: str) -> Page:
        """The page of a study, with its trials drawn."""
        self.page.goto(f"{self.url}/studies/{study_id}")
        self.page.wait_for_selector("#cards[data-front]", state="attached")
        return self.page

    def trial(self, study_id: str, trial_id: str) -> Page:
        """The page of a trial."""
        self.page.goto(f"{self.url}/studies/{study_id}/trials/{trial_id}")
        self.page.wait_for_selector("h1 .state")
        return self.page

    def studies(self) -> Page:
        """The page of all studies."""
        self.page.goto(f"{self.url}/")
        self.page.wait_for_selector("#studies > *")
        return self.page

    def seen_in_full(self) -> None:
        """Scrolls over the whole page, so that every view is asked for, and waits until each has something."""
        height = int(self.page.evaluate("document.body.scrollHeight"))
        for top in range(0, height + 1, 500):
            self.scroll(top)
        expect(self.page.get_by_text("Loading …").filter(visible=True)).to_have_count(0)
        self.scroll(0)

    def scroll(self, top: int) -> None:
        """Scrolls to a height in pixels, and waits until the page has been drawn there."""
        if not self.page.evaluate(_SCROLL, [top, 10_000]):
            # A headless window was seen to get no frame for ten minutes; a change of its size asks for one.
            size = self.page.viewport_size
            assert size is not None
            for height in (size["height"] + 1, size["height"]):
                self.page.set_viewport_size({"width": size["width"], "height": height})
            is_drawn = self.page.evaluate(_SCROLL, [top, PATIENCE_MS])
            assert is_drawn, f"nothing was drawn at {top} pixels, not in another size either"

    def barriers(self) -> list[str]:
        """What axe finds serious or critical of the page as it is."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {each['help']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in _BAD
            for node in each["nodes"]
        ]


def card(page: Page, heading: str) -> Any:
    """The part of a page under a heading."""
    return page.locator("section.card", has=page.get_by_role("heading", name=heading, exact=True))


def opened_table(page: Page, heading: str) -> list[list[str]]:
    """The rows of the table behind a chart's disclosure."""
    part = card(page, heading)
    part.scroll_into_view_if_needed()
    summary = part.locator("summary", has_text="The figures as a table")
    summary.wait_for()
    if part.locator("details").first.get_attribute("open") is None:
        summary.click()
    part.locator("details tbody tr").first.wait_for()
    rows: list[list[str]] = part.locator("details tbody").evaluate_all(_CELLS)
    return rows
