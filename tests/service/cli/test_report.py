"""`greenshift report` and the tables of `greenshift export`, of a study whose front was judged by the test split."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pypdf import PdfReader

from service.cli.export_folder import MANIFEST
from service.ledger import Ledger
from service.report.files import write_files
from service.schema import Study
from service.store import Store
from service.study_run import StudyRun
from tests.service.cli.commands import Call, assert_refused
from tests.service.fakes import completed, measurement
from tests.service.report.test_page import References
from tests.service.served import recorded, serving
from worker.schema import TrialResult


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    with Store(tmp_path_factory.mktemp("service") / "studies.sqlite") as store:
        study = recorded(store, name="told", data_dir="/somewhere/else")
        for seed, error in enumerate((0.25, 0.375)):
            store.record_final(study.study_id, "00001", seed, judged(study, error))
        with serving(store) as url:
            yield store, url


def judged(study: Study, error: float) -> TrialResult:
    objectives = {"error": measurement(error, "evaluation", "measured", "ratio")}
    return completed("final", study_id=study.study_id, objectives=objectives)


@pytest.fixture
def store(service: tuple[Store, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    store, url = service
    monkeypatch.setenv("GREENSHIFT_URL", url)
    monkeypatch.delenv("GREENSHIFT_TOKEN", raising=False)
    return store


def test_the_report_is_the_page_that_run_writes_of_the_same_store(call: Call, store: Store, tmp_path: Path) -> None:
    done = call("report", "told", "--out", "report.html")
    study = store.studies()[0]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"told ({study.study_id}): RUNNING\n7 trials, 2 on the front: report.html\n"
    ledger = Ledger.from_events(store.events(study.study_id))
    (tmp_path / "run").mkdir()
    trials, finals = store.trials(study.study_id), store.final_results(study.study_id)
    write_files(tmp_path / "run", StudyRun(study, trials, ledger, finals))
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "run" / "report.html").read_bytes()


def test_the_report_loads_nothing_and_names_no_place_of_the_machine(call: Call, store: Store, tmp_path: Path) -> None:
    call("report", "told", "--out", "report.html")
    html = (tmp_path / "report.html").read_text()
    parser = References()
    parser.feed(html)
    assert parser.found and all(reference.startswith("data:") for reference in parser.found)
    assert "http" not in html.replace(parser.found[0], "")
    assert "/somewhere/else" not in html


def test_the_report_in_markdown_tells_the_whole_story(call: Call, store: Store, tmp_path: Path) -> None:
    assert call("report", "told", "--out", "report.md", "--format", "md").returncode == 0
    text = (tmp_path / "report.md").read_text()
    assert [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")] == [
        "The question", "What was searched", "The front", "Judged by the test split", "What the search cost",
        "How the figures are known", "All trials", "How to reproduce",
    ]  # fmt: skip
    for line in (
        "| fidelity | shift_depth 1..10; one in 3 is promoted |",
        "| weight_bits | 3 (7 trials) |",
        "| 00001 | 100 mJ | 4 J | unknown | unknown | deepshift-q w3 a16+16 adam |",
        "| 00001 | 0.3125 ± 0.0884 | 2 | 100 mJ | deepshift-q w3 a16+16 adam |",
        "| trials from the beginning | estimated, codecarbon, fake | 4 | 20 J |",
        "| final trainings, judged by the test split | estimated, codecarbon, fake | 2 | 10 J |",
        "| deployment energy | J | estimated | analytic | 4 |",
        "| 00004 | FAILED (diverged) | 10 | 20 | unknown | unknown | unknown | unknown | deepshift-q w3 a16+16 adam |",
        "greenshift finalize ANOTHER_FOLDER",
        "network: resnet8",
    ):
        assert line in text.splitlines(), line


def test_a_study_that_is_not_there_is_code_3_and_leaves_no_file(call: Call, store: Store, tmp_path: Path) -> None:
    for command in (["report", "nothing", "--out", "r.html"], ["export", "nothing", "--to", "csv", "--out", "there"]):
        done = call(*command)
        assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_only_when_told_so(call: Call, store: Store, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    done = call("report", "told", "--out", "report.html")
    assert done.stderr == "error: out: report.html is there already; name another file, or say --force\n"
    assert (done.returncode, (tmp_path / "report.html").read_text()) == (3, "mine")
    assert call("report", "told", "--out", "report.html", "--force").returncode == 0
    assert "<h1>told</h1>" in (tmp_path / "report.html").read_text()


def test_a_folder_with_files_of_the_user_is_left_as_it_is(call: Call, store: Store, tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        (tmp_path / form).mkdir()
        (tmp_path / form / "trials.csv").write_text("mine")
        assert_refused(call("export", "told", "--to", form, "--out", form), f"out: {form} holds files", "--force")
        assert [path.name for path in (tmp_path / form).iterdir()] == ["trials.csv"]
        assert call("export", "told", "--to", form, "--out", form, "--force").returncode == 0
        assert call("export", "told", "--to", form, "--out", form).returncode == 0
    assert (tmp_path / "csv" / "trials.csv").read_text() != (tmp_path / "parquet" / "trials.csv").read_text() == "mine"


def test_tables_go_into_no_server(call: Call, store: Store, tmp_path: Path) -> None:
    assert_refused(call("export", "told", "--to", "csv", "--out", "http://here"), "only mlflow writes to a server")
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_bad_input(call: Call, store: Store, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for more in ([], ["--force"]):
        refused = call("report", "told", "--out", "there", *more)
        assert_refused(refused, "out: there is a folder; name a file, such as there/report.html")
    assert_refused(call("report", "told", "--out", "nowhere/report.html"), "nowhere/report.html")
    assert_refused(call("report", "told", "--out", "report.doc", "--format", "doc"), "doc", "html", "pdf")


def test_export_adds_figures_and_attempts_to_the_files_of_run(call: Call, store: Store, tmp_path: Path) -> None:
    assert call("export", "told", "--to", "csv", "--out", "there").returncode == 0
    figures, attempts = (read(tmp_path / "there" / f"{name}.csv") for name in ("measurements", "attempts"))
    assert figures[0] == {
        "trial_id": "default", "objective": "error", "value": "0.3", "unit": "J", "method": "analytic",
        "quality": "estimated", "uncertainty": "", "deviation": "",
    }  # fmt: skip
    assert len(figures) == 2 * 4
    assert [(row["trial_id"], row["outcome"]) for row in attempts] == [
        ("default", "completed"), ("00001", "completed"), ("00002", "completed"), ("00003", "completed"),
        ("00004", "failed"), ("00005", "running"),
    ]  # fmt: skip


def test_export_to_parquet_writes_the_same_tables(call: Call, store: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for form in ("csv", "parquet"):
        assert call("export", "told", "--to", form, "--out", form).returncode == 0
    names = ("trials", "front", "ledger", "measurements", "attempts")
    assert {path.name for path in (tmp_path / "parquet").iterdir()} == {
        MANIFEST, "study.yaml", *(f"{n}.parquet" for n in names)}  # fmt: skip
    for name in names:
        table = parquet.read_table(tmp_path / "parquet" / f"{name}.parquet").to_pylist()
        rows = read(tmp_path / "csv" / f"{name}.csv")
        assert [list(row) for row in table] == [list(row) for row in rows], name
        text = [["" if v is None else v.isoformat() if hasattr(v, "isoformat") else str(v) for v in row.values()]
                for row in table]  # fmt: skip
        assert text == [list(row.values()) for row in rows], name


def test_export_to_parquet_without_pyarrow_is_refused_before_anything_is_written(
    call: Call, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.extras.find_spec", lambda _name: None)
    assert_refused(call("export", "told", "--to", "parquet", "--out", "there"), "pip install 'greenshift[parquet]'")
    assert list(tmp_path.iterdir()) == []


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_report_in_pdf_has_pages_with_text_that_can_be_searched(call: Call, store: Store, tmp_path: Path) -> None:
    assert call("report", "told", "--out", "report.pdf", "--format", "pdf").returncode == 0
    pages = [page.extract_text() for page in PdfReader(tmp_path / "report.pdf").pages]
    assert pages[0].startswith("told\n") and len(pages) > 1
    assert all(f"{number} of {len(pages)}" in text for number, text in enumerate(pages, 1))
    whole = "\n".join(pages)
    for said in (
        "The question",
        "Judged by the test split",
        "0.3125 ± 0.0884",
        "FAILED (diverged)",
        "network: resnet8",
    ):
        assert said in whole
    assert "/somewhere/else" not in whole


def test_a_report_in_pdf_without_its_library_names_the_extra(
    call: Call, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.extras.find_spec", lambda _name: None)
    assert_refused(call("report", "told", "--out", "r.pdf", "--format", "pdf"), "pip install 'greenshift[pdf]'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["report", "runs/mine", "--out"], ["export", "runs/mine", "--to", "csv", "--out"]])
def test_a_folder_of_run_is_told_as_the_study_of_a_service_is(
    call: Call, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    study = store.studies()[0]
    (tmp_path / "runs/mine").mkdir(parents=True)
    with sqlite3.connect(tmp_path / "runs/mine/study.sqlite") as there, closing(
        sqlite3.connect(str(store.database.file))) as here:  # fmt: skip
        here.backup(there)
    there.close()
    remote = call(*command[:1], study.study_id, *command[2:], "remote")
    monkeypatch.setenv("GREENSHIFT_URL", "http://127.0.0.1:1")
    local = call(*command, "local")
    assert (local.returncode, local.stderr, local.stdout) == (0, "", remote.stdout.replace("remote", "local"))
    for path in [tmp_path / "local", *sorted((tmp_path / "local").glob("*"))]:
        if path.is_file() and path.name not in ("study.yaml", MANIFEST):
            assert path.read_bytes() == (tmp_path / "remote" / path.relative_to(tmp_path / "local")).read_bytes(), path


def test_a_name_that_means_nothing_is_said_to_be_neither_folder_nor_study(
    call: Call, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("report", "junk", "--out", "r.html")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "junk is no folder with a study.sqlite here" in done.stderr and "there is none with the id" in done.stderr
    monkeypatch.setenv("GREENSHIFT_URL", "http://127.0.0.1:1")
    done = call("report", "junk", "--out", "r.html")
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert "junk is no folder with a study.sqlite here" in done.stderr and "no service answers" in done.stderr


def test_versions_that_a_coordinator_has_not_are_no_obstacle(
    call: Call, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.report.story._PACKAGES", ("greenshift", "no-such-distribution"))
    assert call("report", "told", "--out", "r.md", "--format", "md").returncode == 0
    assert "| no-such-distribution | not installed here |" in (tmp_path / "r.md").read_text()


def test_a_folder_without_a_study_is_code_3(call: Call, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    done = call("report", "runs/", "--out", "r.html")
    assert (done.returncode, done.stderr) == (3, "error: study: runs/ holds no study.sqlite\n")
