"""Whether there is what a page of the dashboard is of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.errors import ServiceError
from service.names import STUDY_ID
from service.store import Reader


@dataclass(frozen=True)
class PagesOf:
    """Tells whether there is the study, or the trial, that the path of a page names.

    Attributes:
        tells_all: else every name that could be one is there: pages are asked for without a token, and who shows
            none is told nothing of the store.
    """

    store: Reader
    tells_all: bool

    def __call__(self, study_id: str | None = None, trial_id: str | None = None) -> bool:
        """Whether there is a study, or a trial of it, or no name at all."""
        named = [name for name in (study_id, trial_id) if name is not None]
        if not all(re.fullmatch(STUDY_ID, name) for name in named):
            return False
        return not named or not self.tells_all or self._has(*named)

    def _has(self, study_id: str, trial_id: str | None = None) -> bool:
        try:
            self.store.study(study_id) if trial_id is None else self.store.trial(study_id, trial_id)
        except KeyError:
            return False
        except ServiceError:
            # That the store cannot be used is what the page itself will say.
            return True
        return True
