from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.carbon_series import intensity_of, read_series
from service.errors import InputError


def test_a_series_that_goes_on_being_written_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text("time,grams_per_kwh\n2026-01-01T00:00:00Z,300\n")
    intensity = intensity_of(path, lambda: datetime(2026, 1, 1, 1, 30, tzinfo=UTC))
    assert intensity() == 300.0
    path.write_text(path.read_text() + "2026-01-01T01:00,120.5\n2026-01-01T02:00+00:00,90\n")
    assert intensity() == 120.5


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no line"), ("time,grams\n2026-01-01,3\n", "grams_per_kwh"), ("time,grams_per_kwh\nnow,3\n", "now")],
)
def test_a_file_that_is_no_series_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "series.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_series(path)
    with pytest.raises(InputError, match="No such file"):
        read_series(tmp_path / "nowhere.csv")
