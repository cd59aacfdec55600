"""What things may be called: as patterns, which stand in the documentation of the API, and the same in words."""

from __future__ import annotations

STUDY_NAME = r"^\w[\w .-]{0,99}$"
# Of a study or a trial.
STUDY_ID = r"^[0-9A-Za-z_-]{1,32}$"
# What a worker is called: it stands in a path and in a database.
WORKER_NAME = r"^[^\x00-\x1f\x7f]{1,200}$"
# PostgreSQL takes no NUL, not even to look for.
WITHOUT_NUL = r"^[^\x00]*$"

_IN_WORDS = {
    STUDY_NAME: "must be 1 to 100 letters, digits, spaces and . _ -, the first a letter, a digit or _",
    STUDY_ID: "must be 1 to 32 letters (A-Z, a-z), digits, _ and -",
    WORKER_NAME: "must be 1 to 200 characters that can be printed",
    WITHOUT_NUL: "must have no NUL",
    "^[A-Z]{3}$": "must be three capital letters, such as DEU",
}


def in_words(pattern: str) -> str:
    """What a pattern allows, for people."""
    return _IN_WORDS.get(pattern, f"must match {pattern}")
