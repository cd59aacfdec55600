"""Data sets, networks and tasks of the user's own, found by name among the entry points of installed distributions."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Literal

from worker.errors import ConfigurationError

Group = Literal["greenshift.datasets", "greenshift.networks", "greenshift.tasks"]


def plugin_names(group: Group) -> list[str]:
    """Names of all entry points of `group`, sorted."""
    return sorted(entry_points(group=group).names)


def load_plugin(group: Group, name: str) -> Any:
    """What the entry point `name` of `group` points at, or None where no distribution has one of that name.

    Raises:
        ConfigurationError: several distributions have one, or its module or object is not there.
    """
    found = list(entry_points(group=group, name=name))
    if not found:
        return None
    if len(found) > 1:
        raise ConfigurationError(f"{group} has {len(found)} entry points {name!r}: {', '.join(p.value for p in found)}")
    try:
        return found[0].load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigurationError(f"{group} {name!r}: {found[0].value} cannot be loaded: {reason}") from error
