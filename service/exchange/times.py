"""When trials began and ended, as their study's log tells it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from service.analysis.attempts import attempt_rows
from service.wire import Event

Times = tuple[datetime, datetime]


def times_of(log: Iterable[Event]) -> dict[str, Times]:
    """When the last attempt at each trial began and ended; one that never began, or still runs, is not there.

    What was tried before is no part of that, nor is a result that came when nobody waited for it any more.
    """
    found: dict[str, Times] = {}
    for row in attempt_rows(log):
        if row["outcome"] != "late":
            found.pop(row["trial_id"], None)
            if row.get("started_at") and row.get("ended_at"):
                found[row["trial_id"]] = row["started_at"], row["ended_at"]
    return found
