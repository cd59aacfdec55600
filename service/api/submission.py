"""A study as it may come over HTTP: complete in itself, and naming nothing on the machines that run it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.faults import shortened
from service.names import STUDY_ID
from service.schema import StudySpec
from service.wire import PLACES, names_study

_NAMED = ("task", "dataset", "network")
# One word, or a folder directly in the data folder; of a data set also its size.
_NAME = re.compile(r"(\w[\w+-]*|imagefolder:\w[\w.+ -]*)(@\d+)?")
# The database reads no deeper than 200.
_MAX_DEPTH = 32


def _admissible(document: Any) -> Any:
    if isinstance(document, dict):
        # What cannot be stored must not be quoted either.
        faults = list(_unstorable(document)) or list(_of_places(document))
        if faults:
            raise ValueError(shortened(faults))
    return document


def _of_places(document: dict[str, Any]) -> Iterator[str]:
    for key in PLACES:
        if document.get(key) is not None:
            yield f"{key}: must be left out over HTTP, because it names a place on the workers; got {document[key]!r}"
    earlier = document.get("warm_start")
    if earlier is not None and not names_study(earlier):
        yield f"warm_start: must be the id of a study over HTTP, and neither its name nor a path; got {earlier!r}"
    for key in _NAMED:
        value = document.get(key)
        if isinstance(value, str) and not _NAME.fullmatch(value):
            yield f"{key}: must be a plain name over HTTP, without path or module; got {value!r}"


def _unstorable(value: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """What JSON as Python reads it may hold, and a database not: endless numbers, half characters, deep trees."""
    if depth > _MAX_DEPTH:
        yield f"{key.split('.')[0]}: must be nested at most {_MAX_DEPTH} levels deep"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key}: must be a finite number, got {value}"
    elif isinstance(value, str) and not _is_text(value):
        yield f"{key}: must be text in Unicode, got {value[:100]!a}"
    elif isinstance(value, dict):
        for name, inner in value.items():
            if _is_text(name):
                yield from _unstorable(inner, f"{key}.{name}" if key else name, depth + 1)
            else:
                yield f"{key or 'study'}: keys must be text in Unicode, got {name[:100]!a}"
    elif isinstance(value, list):
        for inner in value:
            yield from _unstorable(inner, key, depth + 1)


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


class _WithoutPlaces:
    """Leaves out of the documentation what is refused."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        properties = handler.resolve_ref_schema(found)["properties"]
        for key in PLACES:
            properties.pop(key, None)
        properties["warm_start"] = {
            "anyOf": [{"type": "string", "pattern": STUDY_ID}, {"type": "null"}],
            "default": None,
        }
        return found


Submission = Annotated[StudySpec, BeforeValidator(_admissible), _WithoutPlaces]
