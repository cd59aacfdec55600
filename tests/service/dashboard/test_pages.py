from __future__ import annotations

import gzip
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api import create_app
from service.store import Store
from tests.service.api.conftest import HERE

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "service" / "dashboard"
PAGES = ["/", "/studies/abc", "/studies/abc/trials/00001"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Without studies: no page holds data."""
    with Store(tmp_path_factory.mktemp("stores") / "empty.sqlite") as store:
        yield store


@pytest.fixture(scope="module")
def http(store: Store) -> TestClient:
    return TestClient(create_app(store, require_token=True), HERE)


def linked(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="(/assets/[^"]+)"', page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_token_and_lets_nothing_in_from_elsewhere(http: TestClient, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "://" not in answer.text
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", answer.text)


@pytest.mark.parametrize("path", PAGES)
def test_what_a_page_links_is_there_and_kept_for_ever(http: TestClient, path: str) -> None:
    links = linked(http.get(path).text)
    assert len(links) >= 3
    for link in links:
        answer = http.get(link)
        assert answer.status_code == 200, link
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_every_module_that_another_imports_is_there(http: TestClient) -> None:
    for path in (FOLDER / "static" / "js").glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', path.read_text()):
            assert (path.parent / name).is_file(), f"{path.name} imports {name}"


def test_a_page_is_asked_for_again_and_not_sent_again(http: TestClient) -> None:
    first = http.get("/")
    assert first.headers["Cache-Control"] == "no-cache"
    again = http.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_files_are_compressed_for_who_can_read_that(http: TestClient) -> None:
    link = next(link for link in linked(http.get("/studies/abc").text) if link.endswith("echarts.min.js"))
    plain = http.get(link, headers={"Accept-Encoding": "identity"})
    with http.stream("GET", link, headers={"Accept-Encoding": "gzip"}) as answer:
        sent = b"".join(answer.iter_raw())
    assert "Content-Encoding" not in plain.headers
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(sent) == plain.content
    assert len(sent) < 0.4 * len(plain.content)


@pytest.mark.parametrize("path", ["nope.js", "study.html", "../pages.py", "js/../../pages.py", "vendor/echarts.json"])
def test_nothing_else_is_served(http: TestClient, path: str) -> None:
    version = linked(http.get("/").text)[0].split("/")[2]
    assert http.get(f"/assets/{version}/{path}").status_code == 404


def test_files_of_another_version_are_not_mixed_in(http: TestClient) -> None:
    assert http.get("/assets/000000000000/style.css").status_code == 404


def test_where_the_report_will_lie_is_text(store: Store) -> None:
    app = create_app(store, require_token=False, report='runs/"><script>/report.html')
    page = TestClient(app, HERE).get("/").text
    assert 'content="runs/&quot;&gt;&lt;script&gt;/report.html"' in page


def test_the_charts_are_those_of_the_release_unchanged() -> None:
    told = json.loads((FOLDER / "vendor" / "echarts.json").read_text())
    content = (FOLDER / "vendor" / "echarts.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == told["sha256"]
    assert told["version"] in told["source"]
    assert f'"{told["version"]}"'.encode() in content
    for name in ("LICENSE", "NOTICE"):
        assert "Apache" in (FOLDER / "vendor" / name).read_text()


def test_a_wheel_carries_every_file() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    carried = {path for pattern in patterns["service.dashboard"] for path in FOLDER.glob(pattern) if path.is_file()}
    there = {path for folder in ("static", "vendor") for path in (FOLDER / folder).rglob("*") if path.is_file()}
    assert carried == there
    assert (files("service.dashboard") / "static" / "studies.html").is_file()


@pytest.mark.parametrize("path", sorted((FOLDER / "static" / "js").glob("*.js")), ids=lambda path: path.stem)
def test_a_script_is_short_says_its_idea_and_makes_no_markup_of_text(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("// ") and len(text.splitlines()) <= 250
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


def test_no_tooltip_is_a_text_which_would_become_markup() -> None:
    scripts = "".join(path.read_text() for path in (FOLDER / "static" / "js").glob("*.js"))
    made = re.findall(r"tooltip: \{[^\n]*?formatter: \(.*?\) => (\w+|this\.#\w+)\(", scripts)
    assert len(made) == len(re.findall(r"tooltip: \{[^\n]*?formatter:", scripts)) >= 9
    assert set(made) == {"tip", "described", "this.#tip"}
