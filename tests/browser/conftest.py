"""A Chromium of the system, and a site of a real service for it to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from service.store import Store
from tests.browser.pages import CHROMIUM, Site, chromium
from tests.browser.stores import filled
from tests.service.served import serving


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ended with the package: what drives it keeps an event loop running, which other tests cannot have."""
    if not CHROMIUM.exists():
        pytest.skip(f"NO CHROMIUM at {CHROMIUM}: the pages of the dashboard are NOT TESTED (apt-get install chromium)")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots are left, for people to look at."""
    folder = Path(os.environ.get("GREENSHIFT_ARTEFACTS", Path(__file__).parent / "artefacts"))
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str, str]]:
    """A store with a study of 300 trials, its id, and the URL of a service over it."""
    with Store(tmp_path_factory.mktemp("generated") / "studies.sqlite") as store:
        study = filled(store, 300, n_seeds=2, failures=0.0)
        with serving(store) as url:
            yield store, study.study_id, url


@pytest.fixture
def site(browser: Browser, generated: tuple[Store, str, str]) -> Iterator[Site]:
    """The pages of the generated study, in a window of their own."""
    _, _, url = generated
    with Site.opened(browser, url) as site:
        yield site
