from __future__ import annotations

import struct
from pathlib import Path

from service.report.picture import write_picture
from tests.service.fakes import full_trial, study_spec

TRIALS = [
    full_trial("default", 0.3, 9e-7, is_default=True),
    full_trial("default-recommended", 0.25, 8e-7, is_default=True),
    full_trial("00001", 0.1, 3e-7),
    full_trial("00002", 0.2, 2e-7),
]


def test_the_picture_is_a_png_of_some_size(tmp_path: Path) -> None:
    write_picture(tmp_path / "pareto.png", study_spec(), TRIALS)
    content = (tmp_path / "pareto.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", content[16:24])
    assert width > 600
    assert height > 400


def test_the_picture_names_axes_and_the_default(tmp_path: Path) -> None:
    write_picture(tmp_path / "pareto.svg", study_spec(), TRIALS)
    text = (tmp_path / "pareto.svg").read_text()
    for said in (
        "deployment energy",
        "error",
        "estimated, analytic",
        "Pareto front",
        "default (DeepShift-PS",
        "as DeepShift advises",
    ):
        assert said in text
