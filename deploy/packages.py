"""The packages of the coordinator's image and their size, from this environment, which has them pinned.

`python deploy/packages.py` prints `name==version` lines; with `--megabytes` the size of the image, base included.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LIST = Path(__file__).parent / "coordinator.txt"
# python:3.11-slim-bookworm as it lies on the disk, and pip with the libraries of our own.
BASE_MEGABYTES = 130.0 + 20.0


def closure(requirements: list[str]) -> dict[str, metadata.Distribution]:
    """These distributions and all that they need, by canonical name; what is not installed here is an error."""
    found: dict[str, metadata.Distribution] = {}
    left = [(Requirement(line), "") for line in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        requirement, extra = left.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found[name] = metadata.distribution(name)
        for line in found[name].requires or []:
            left += [(Requirement(line), extra) for extra in ("", *requirement.extras)]
    return dict(sorted(found.items()))


def listed() -> list[str]:
    """The lines of coordinator.txt."""
    return [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]


def megabytes(distributions: dict[str, metadata.Distribution]) -> float:
    """What the files of these distributions take, compiled ones left out, as the image has none."""
    files = [path.locate() for each in distributions.values() for path in each.files or []]
    sizes = [Path(str(file)).stat().st_size for file in files if Path(str(file)).is_file() and file.suffix != ".pyc"]
    return sum(sizes) / 1e6


def main() -> None:
    """Prints what is asked for."""
    found = closure(listed())
    if sys.argv[1:] == ["--megabytes"]:
        sys.stdout.write(f"{BASE_MEGABYTES + megabytes(found):.0f}\n")
        return
    sys.stdout.writelines(f"{name}=={re.sub(r'[+].*', '', each.version)}\n" for name, each in found.items())


if __name__ == "__main__":
    main()
