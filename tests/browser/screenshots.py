"""Pictures of the dashboard for the README and its guide, of a generated study: `make screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from service.store import Store
from tests.browser.pages import Site, card, chromium
from tests.browser.stores import filled
from tests.service.served import serving

FOLDER = Path(__file__).parents[2] / "deploy" / "docs" / "screenshots"
# A chart needs no more, and the files are a third as large.
N_COLOURS = 128


def main() -> None:
    """Writes all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(Path(folder) / "studies.sqlite") as store,
        chromium() as browser,
    ):
        study = filled(store, 300, name="digits", n_seeds=2, failures=0.0)
        with serving(store) as url:
            # Its weights lie in many powers of two.
            wide = next(t for t in store.trials(study.study_id) if t.is_full and t.config["weight_bits"] == 5)
            take(browser, url, study.study_id, wide.trial_id)
    for path in FOLDER.glob("*.png"):
        Image.open(path).quantize(N_COLOURS).save(path, optimize=True)


def take(browser: Browser, url: str, study_id: str, trial_id: str) -> None:
    """The front with its study, its configurations, its energy, and the weights of a trial in the dark."""
    with Site.opened(browser, url, width=1040, height=770) as site:
        page = site.study(study_id)
        site.seen_in_full()
        page.screenshot(path=FOLDER / "study.png")
        for heading, name in (("Configurations", "configurations"), ("Energy ledger", "energy")):
            part = card(page, heading)
            part.scroll_into_view_if_needed()
            part.screenshot(path=FOLDER / f"{name}.png")
    with Site.opened(browser, url, width=1040, height=600, color_scheme="dark") as site:
        page = site.trial(study_id, trial_id)
        site.seen_in_full()
        card(page, "Weights of each layer").screenshot(path=FOLDER / "layers-dark.png")


if __name__ == "__main__":
    main()
