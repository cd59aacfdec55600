"""Constraints of a study, such as `error <= 0.2`: what every network of its front must keep to."""

from __future__ import annotations

import re

from worker.schema import Frozen


class Bound(Frozen):
    """A limit of what a network may measure: `value` at most, or at least, in the measurement's own unit."""

    measurement: str
    is_upper: bool
    value: float

    def holds(self, value: float | None) -> bool:
        """Whether a value keeps to it; an unknown one does not."""
        return value is not None and (value <= self.value if self.is_upper else value >= self.value)


def read_bound(text: str) -> Bound:
    """The limit that a constraint sets.

    Raises:
        ValueError: it cannot be read.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*(\S+)\s*", text)
    try:
        if found is None:
            raise ValueError
        return Bound(measurement=found[1], is_upper=found[2] == "<=", value=float(found[3]))
    except ValueError:
        raise ValueError(f"must read like 'error <= 0.2' or 'NAME >= NUMBER', got {text!r}") from None
