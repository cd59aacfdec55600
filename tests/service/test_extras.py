from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from service.errors import InputError
from service.extras import EXTRAS, require

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_that_is_asked_for_is_one_of_the_distribution_and_brings_what_is_missed(extra: str) -> None:
    brought = " ".join(PROJECT["optional-dependencies"][extra])
    assert all(package in brought for package in EXTRAS[extra])


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_is_missing_is_said_in_one_line(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.extras.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=rf"^to: this needs .+: pip install 'greenshift\[{extra}\]'$"):
        require(extra, "to: this")
