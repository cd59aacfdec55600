"""Studies as text: presets that come with the program, and YAML or JSON files."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from service.errors import InputError
from worker.schema import did_you_mean

_BOOL = "tag:yaml.org,2002:bool"


def preset_names() -> list[str]:
    """Studies that come with the program."""
    folder = resources.files("service.presets")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def read_document(source: str) -> dict[str, Any]:
    """The mapping in a preset or file.

    Raises:
        InputError: there is none.
    """
    if source in preset_names():
        text = resources.files("service.presets").joinpath(f"{source}.yaml").read_text()
    elif Path(source).is_file():
        text = _read_text(Path(source))
    else:
        names = preset_names()
        guess = did_you_mean(source, names)
        raise InputError(f"study must be a YAML file or a preset ({', '.join(names)}), got {source!r}{guess}")
    try:
        data = _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise InputError(f"{source} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{source} must hold a mapping of keys to values")
    return data


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which PyYAML would take the last, and takes yes, no, on and off for words.

    So does YAML 1.2; in PyYAML's 1.1 they are true and false, and Norway is one of them.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise yaml.YAMLError(f"key {key.value!r} is given twice, in lines {lines[name]} and {line}")
                lines[name] = line
        return node


_Loader.add_implicit_resolver(_BOOL, re.compile("(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"study: {path} cannot be read: {why}") from error
