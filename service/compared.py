"""Names of the trials that a search is compared with."""

from __future__ import annotations

DEFAULT_TRIAL_ID = "default"
RECOMMENDED_TRIAL_ID = "default-recommended"
