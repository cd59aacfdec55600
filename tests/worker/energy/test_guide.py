"""The guide to energy against the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.schema import SiteSpec

GUIDE = (Path(__file__).parents[3] / "deploy/docs/energy.md").read_text()


def rows() -> dict[str, list[str]]:
    """The cells of each row of its tables by the keys of the first cell."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in GUIDE.splitlines() if line[:1] == "|"]
    return {key: row for row in cells for key in re.findall(r"`(\w+)`", row[0])}


@pytest.mark.parametrize("key", SiteSpec.model_fields)
def test_every_factor_of_a_site_is_documented_with_its_default_unit_and_source(key):
    _, default, unit, meaning, source = rows()[key]

    assert (None if default == "none" else float(default)) == SiteSpec.model_fields[key].default
    assert unit and meaning and source
