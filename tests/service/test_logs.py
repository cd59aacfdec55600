from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from service.logs import JsonFormatter, LogFormat, write_log


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Other tests must find the loggers as they were."""
    root, ours = logging.getLogger(), logging.getLogger("service")
    before = list(root.handlers), root.level, ours.level
    yield
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


def record(message: str, *arguments: object, error: bool = False) -> logging.LogRecord:
    return logging.LogRecord(
        "service.x", logging.WARNING, "x.py", 1, message, arguments, sys.exc_info() if error else None
    )


def test_a_line_of_json_says_when_how_bad_who_and_what() -> None:
    said = json.loads(JsonFormatter().format(record("study %s waits", "abc")))
    assert said.pop("at").endswith("+00:00")
    assert said == {"level": "warning", "logger": "service.x", "message": "study abc waits"}


def test_an_exception_stays_in_one_line() -> None:
    try:
        raise ValueError("on\npurpose")
    except ValueError:
        line = JsonFormatter().format(record("failed", error=True))
    assert "\n" not in line
    assert "ValueError: on\npurpose" in json.loads(line)["exception"]


@pytest.mark.parametrize("form", LogFormat)
def test_our_own_news_are_written_and_only_warnings_of_others(
    form: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(form)
    logging.getLogger("service.supervisor").info("ours")
    logging.getLogger("uvicorn").info("theirs")
    logging.getLogger("uvicorn").warning("trouble")
    lines = capsys.readouterr().err.splitlines()
    assert [word for word in ("ours", "theirs", "trouble") if any(word in line for line in lines)] == [
        "ours",
        "trouble",
    ]
