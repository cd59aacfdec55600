"""What somebody may have meant who wrote a name that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The nearest of the `known` names as a question in brackets, to follow the name; empty where none is near."""
    by_folded = {other.lower(): other for other in known}
    near = get_close_matches(str(name).lower(), by_folded, n=1)
    return f" (did you mean {by_folded[near[0]]}?)" if near else ""
