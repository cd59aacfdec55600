"""The one script of a page: its module with all that this imports, in one request in place of thirty."""

from __future__ import annotations

import re
from collections.abc import Mapping

_IMPORT = re.compile(r'^import \{ (\w+(?:, \w+)*) \} from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|class|function|async function) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def bundled(modules: Mapping[str, str], entry: str) -> str:
    """A script that does what the module `entry` does.

    Args:
        modules: source by name, such as `study`; of all forms of import and export they use only
            `import { a, b } from "./name.js";` and `export` before what is declared, each on a line of its own.
        entry: name of the module that no other imports; it alone may await.

    Raises:
        ValueError: a module imports or exports in another form.
    """
    order: list[str] = []
    _visit(modules, entry, order)
    return "".join(_scope(name, modules[name]) for name in order[:-1]) + f"// {entry}.js\n{_linked(modules[entry])}"


def _visit(modules: Mapping[str, str], name: str, order: list[str]) -> None:
    """Adds a module behind all that it imports."""
    for _, other in _IMPORT.findall(modules[name]):
        if other not in order:
            _visit(modules, other, order)
    order.append(name)


def _scope(name: str, source: str) -> str:
    """A module whose own names nobody else sees."""
    exported = ", ".join(_EXPORT.findall(source))
    return (
        f"// {name}.js\nconst ${name} = (() => {{\n{_linked(_EXPORT.sub('', source))}return {{ {exported} }};\n}})();\n"
    )


def _linked(source: str) -> str:
    """A module that takes what it imports from the scopes before it."""
    linked = _IMPORT.sub(r"const { \1 } = $\2;", source)
    if other := _OTHER.search(linked):
        raise ValueError(f'a script must import as `import {{ a, b }} from "./name.js";`, got `{other[0]}`')
    return linked
