from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
from torch import nn

import shiftlayers

PUBLIC = {name: getattr(shiftlayers, name) for name in shiftlayers.__all__}
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}
RECORDS = {name: thing for name, thing in PUBLIC.items() if dataclasses.is_dataclass(thing)}
LAYERS = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing) and issubclass(thing, nn.Module)}


def described(thing: object) -> set[str]:
    """Names that have an entry under Args or Attributes."""
    return set(re.findall(r"^ +(\w+): ", inspect.getdoc(thing) or "", flags=re.MULTILINE))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_a_function_is_described(name):
    assert set(inspect.signature(FUNCTIONS[name]).parameters) <= described(FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_raises_says_what(name):
    doc = inspect.getdoc(FUNCTIONS[name])

    for error in set(re.findall(r"raise (\w+)\(", inspect.getsource(FUNCTIONS[name]))):
        assert re.search(rf"^ +{error}: \S", doc.split("Raises:")[-1], flags=re.MULTILINE), error


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_record_is_described(name):
    fields = {field.name for field in dataclasses.fields(RECORDS[name])}

    assert fields <= described(RECORDS[name])


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "ShiftLayer"])
def test_a_layer_says_what_shapes_it_takes(name):
    assert re.search(r"\(batch, |\(\.\.\., |any one shape|[Ii]nput and output", inspect.getdoc(LAYERS[name]))


@pytest.mark.parametrize("name", ["round_to_power_of_two", "compose_power_of_two", "estimate_cost", "exactness_report"])
def test_what_computes_says_its_range_or_unit(name):
    assert re.search(r"\d+\.\.|[Ee]nergy|2\^", inspect.getdoc(PUBLIC[name]))


def test_everything_public_has_a_docstring_of_its_own():
    for thing in PUBLIC.values():
        assert thing.__doc__ and thing.__doc__ is not nn.Module.__doc__
