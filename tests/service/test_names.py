from __future__ import annotations

import pytest

from service import names
from worker.energy.schema import SiteSpec

PATTERNS = [value for name, value in vars(names).items() if name.isupper() and not name.startswith("_")]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_has_words(pattern: str) -> None:
    assert "^" not in names.in_words(pattern)


def test_a_country_has_words_too() -> None:
    (pattern,) = [m.pattern for m in SiteSpec.model_fields["country"].metadata if getattr(m, "pattern", None)]
    assert names.in_words(pattern) == "must be three capital letters, such as DEU"
