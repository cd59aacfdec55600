from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from pypdf import PdfReader

from service.ledger import Ledger
from service.report.pdf import pdf_page
from service.schema import Study, StudyState, Trial
from service.study_run import StudyRun
from tests.service.fakes import full_trial, study_spec


def read(trials: list[Trial], **changes: object) -> PdfReader:
    study = Study(
        study_id="s",
        spec=study_spec(**changes),
        state=StudyState.COMPLETED,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return PdfReader(io.BytesIO(pdf_page(StudyRun(study, trials, Ledger()))))


def text_of(document: PdfReader) -> str:
    return " ".join(word for page in document.pages for word in page.extract_text().split())


@pytest.fixture(scope="module")
def long() -> PdfReader:
    return read([full_trial(f"{i:05}", 1 / i, i * 1e-7) for i in range(1, 80)])


def test_it_has_a_title_an_outline_and_pictures_that_are_lines_and_no_pixels(long: PdfReader) -> None:
    assert long.metadata is not None and long.metadata.title == "toy: resnet8 on digits"
    assert [entry.title for entry in long.outline][:3] == ["toy", "The question", "What was searched"]
    assert [page.images for page in long.pages if len(page.images)] == []


def test_the_heading_of_a_long_table_stands_on_each_of_its_pages(long: PdfReader) -> None:
    pages = [page.extract_text() for page in long.pages]
    of_table = [text for text in pages if "deepshift-q w3" in text and "COMPLETED" in text]
    assert len(of_table) > 1
    assert all("epochs" in text and "config" in text for text in of_table)
    assert "00079" in of_table[-1]


def test_signs_of_other_scripts_and_bars_are_text() -> None:
    text = text_of(read([full_trial("1|2", 0.1, 3e-7, config={"optimizer": "łódź ± µ | x" + "y" * 300})]))
    assert "1|2" in text and "łódź ± µ | x" in text


def test_a_study_without_trials_is_told_too() -> None:
    assert "Nothing yet." in text_of(read([]))


def test_a_trial_takes_one_line_and_marks_of_code_none(long: PdfReader) -> None:
    lines = [line for page in long.pages for line in page.extract_text().splitlines()]
    assert len([line for line in lines if "deepshift-q w3 a16+16 adam" in line]) >= 79
    assert [line for line in lines if "`" in line] == []


@pytest.mark.parametrize("n_trials", range(6, 21, 2))
def test_what_a_reader_must_know_stands_on_one_page(n_trials: int) -> None:
    document = read([full_trial(f"{i:05}", 1 / i, i * 1e-7) for i in range(1, n_trials)])
    (page,) = [text for page in document.pages if "Energy is estimated" in (text := page.extract_text())]
    assert "that the search has seen" in " ".join(page.split())
