"""What pydantic finds wrong with what a person wrote, in lines for that person: key, value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from service.names import in_words
from worker.schema import did_you_mean

# As many as errors may have on a terminal.
MAX_LINES = 6
_MAX_VALUE = 100
_KEYS = "must be a mapping of keys to values"
_ALLOWED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda ctx: f"must be at least {_plain(ctx['ge'])}",
    "greater_than": lambda ctx: f"must be above {_plain(ctx['gt'])}",
    "less_than_equal": lambda ctx: f"must be at most {_plain(ctx['le'])}",
    "less_than": lambda ctx: f"must be below {_plain(ctx['lt'])}",
    "literal_error": lambda ctx: f"must be {ctx['expected']}",
    "enum": lambda ctx: f"must be {ctx['expected']}",
    "string_pattern_mismatch": lambda ctx: in_words(ctx["pattern"]),
    "string_too_short": lambda ctx: _count(ctx, "min_length", "at least", "character"),
    "string_too_long": lambda ctx: _count(ctx, "max_length", "at most", "character"),
    "too_short": lambda ctx: _count(ctx, "min_length", "at least", "item"),
    "too_long": lambda ctx: _count(ctx, "max_length", "at most", "item"),
    "finite_number": lambda _: "must be a finite number",
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"), lambda _: "must be a whole number"
    ),
    **dict.fromkeys(("float_type", "float_parsing"), lambda _: "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), lambda _: "must be true or false"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), lambda _: _KEYS),
    **dict.fromkeys(("tuple_type", "list_type"), lambda _: "must be a list"),
    "string_type": lambda _: "must be text",
    "invalid_key": lambda _: "keys must be text",
}


def describe(faults: Iterable[Mapping[str, Any]], model: type[BaseModel]) -> str:
    """What pydantic found in a document that is to be a `model`, one line a fault."""
    return shortened([line for fault in faults if not _is_first_try(fault["loc"]) for line in _lines(fault, model)])


def in_one_line(fault: Mapping[str, Any]) -> str:
    """What is allowed, and what was given in its place."""
    choices = re.findall("'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
    return f"{_allowed(fault)}, got {_shown(fault['input'])}{did_you_mean(fault['input'], choices)}"


def shortened(lines: list[str]) -> str:
    """As many of the lines as an error may have, the last of which says how many there are besides."""
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} further faults"]
    return "\n".join(lines)


def unknown_key(name: str, known: Iterable[str]) -> str:
    """What is said of a key that there is not."""
    known = list(known)
    return f"unknown key{did_you_mean(name, known)}; allowed are {', '.join(known)}"


def _is_first_try(location: tuple[int | str, ...]) -> bool:
    """What may be whole or not is tried as both, and what the second try comes to says enough."""
    return location[-1:] == ("int",) and isinstance(location[-2], int)


def _lines(fault: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    location = [part for part in fault["loc"] if part != "[key]"]
    if location[-1:] == ["float"] and isinstance(location[-2], int):
        location.pop()
    key = ".".join(map(str, location))
    if fault["type"] == "extra_forbidden":
        return [f"{key}: {unknown_key(str(location[-1]), _keys(model, location[:-1]))}"]
    if fault["type"] == "missing":
        return [f"{key}: missing"]
    if fault["type"] == "value_error":
        return [_below(key, line) for line in _allowed(fault).splitlines()]
    return [f"{key or 'spec'}: {in_one_line(fault)}"]


def _below(key: str, line: str) -> str:
    """A line of a validator of ours, which begins with a dot where it is about a key within."""
    return f"{key}{line}" if line.startswith(".") else f"{key}: {line}" if key else line


def _allowed(fault: Mapping[str, Any]) -> str:
    if words := _ALLOWED.get(fault["type"]):
        return words(fault.get("ctx", {}))
    return str(fault["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")


def _keys(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """Keys that are allowed at a place within a document."""
    for part in location:
        field = model.model_fields.get(str(part))
        annotation: Any = field.annotation if field is not None else None
        inner = (kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields"))
        model = next(inner, model)
    return list(model.model_fields)


def _count(ctx: Mapping[str, Any], key: str, how: str, what: str) -> str:
    return f"must have {how} {ctx[key]} {what}{'s' * (ctx[key] != 1)}"


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MAX_VALUE else f"{shown[: _MAX_VALUE - 4]} ..."
