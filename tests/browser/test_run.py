"""`greenshift run --dashboard`: the address comes first, the front grows, and the page says where the report lies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.pages import Site, card
from tests.service.processes import GREENSHIFT, started, wait_until

QUICK = Path(__file__).parents[1] / "service" / "quick.yaml"


@pytest.mark.slow
def test_a_run_shows_its_pages_from_its_beginning_to_its_report(browser: Browser, tmp_path: Path) -> None:
    log, out = tmp_path / "run.log", tmp_path / "out"
    options = ["--workers", "1", "--n-trials", "5", "--out", str(out), "--dashboard"]
    with started(*GREENSHIFT, "run", str(QUICK), *options, log=log, PYTHONUNBUFFERED="1") as process:
        wait_until(lambda: re.search(r"Dashboard, while this runs: (\S+)", log.read_text()))
        before, address = re.split(r"Dashboard, while this runs: (\S+)", log.read_text())[:2]
        assert "trial" not in before
        url, study_id = address.split("/studies/")
        with Site.opened(browser, url) as site:
            page = site.study(study_id)
            expect(card(page, "Pareto front")).to_contain_text("are on the front")
            expect(page.locator("h1 .state")).to_have_text("COMPLETED")
            expect(page.locator("#summary")).to_contain_text(f"Its report: {out}/report.html")
            expect(page.locator("#link")).to_contain_text(
                f"The run has ended, and this page stays as it is. Report: {out}/report.html"
            )
            expect(page.locator("#actions button")).to_have_count(0)
        assert process.wait(timeout=60) == 0
    assert (out / "report.html").is_file()
