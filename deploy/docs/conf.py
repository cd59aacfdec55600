"""The documentation site, by Sphinx: pages lie where the repository has them, so that a link holds here and there.

The root of the sources is that of the repository: `sphinx-build -c deploy/docs . build/docs`, or `make docs`. The
navigation is that of index.md: a heading is a part, and the pages that are linked below it are its pages.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "greenshift"
root_doc = "deploy/docs/index"
extensions = ["myst_parser"]
include_patterns = ["*.md", "deploy/README.md", "deploy/docs/*.md"]
# Not even looked into.
exclude_patterns = [".*", "build", "dist", "runs", "service", "shiftlayers", "tests", "worker"]
myst_heading_anchors = 4
nitpicky = True
html_theme = "furo"
html_title = "greenshift"
html_copy_source = False
html_show_copyright = False

_PART = re.compile(r"^## (?P<name>.+)\n(?P<text>(?:(?!^## ).*\n?)*)", re.MULTILINE)
_LINK = re.compile(r"\[(.+?)\]\((\S+)\.md\)")
_REDIRECT = '<!doctype html><meta http-equiv="refresh" content="0; url={0}"><a href="{0}">greenshift</a>\n'


def setup(app: Sphinx) -> None:
    """Adds the navigation before pages are read, and an index.html when they are written."""
    app.connect("source-read", _add_navigation)
    app.connect("build-finished", _write_entrance)


def _add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    if page != root_doc:
        return
    for part in list(_PART.finditer(source[0])):
        pages = "\n".join(f"{title} <{page}>" for title, page in _LINK.findall(part["text"]))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {part['name']}\n\n{pages}\n```\n"


def _write_entrance(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        Path(app.outdir, "index.html").write_text(_REDIRECT.format(f"{root_doc}.html"))
