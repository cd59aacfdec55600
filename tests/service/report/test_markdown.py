from __future__ import annotations

from datetime import UTC, datetime

from service.report.markdown import markdown_page
from service.schema import Study, StudyState
from service.study_run import StudyRun
from tests.service.fakes import study_spec, trial


def page(**changes: object) -> str:
    spec = study_spec(**changes)
    study = Study(study_id="s", spec=spec, state=StudyState.RUNNING, created_at=datetime(2026, 1, 2, tzinfo=UTC))
    return markdown_page(StudyRun(study, [trial("00001", config={"note": "a | b\n<b>c</b>"})]))


def test_a_value_cannot_become_markup_nor_leave_its_cell() -> None:
    lines = page(dataset="<script>alert(1)</script>").splitlines()
    assert lines[2].startswith("resnet8 on \\<script\\>alert(1)\\</script\\>, study s, RUNNING")
    assert "| note | a \\| b \\<b\\>c\\</b\\> (1 trial) |" in lines


def test_what_is_not_there_yet_is_said() -> None:
    text = page()
    assert "## What the search cost\n\nNothing yet.\n" in text
    assert "## Judged by the test split" not in text


def test_the_study_in_the_page_is_fenced_whatever_it_holds() -> None:
    assert "\n````\nname: toy\ndataset: '```'\n" in page(dataset="```")
