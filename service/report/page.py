"""The report: one HTML file that needs no network, for somebody who was not there."""

from __future__ import annotations

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.report.story import story
from service.report.words import amount, recipe
from service.study_run import StudyRun


def html_page(run: StudyRun, picture: bytes) -> str:
    """The report with a PNG of the front inside."""
    environment = Environment(
        loader=PackageLoader("service.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"amount": amount, "recipe": recipe}
    told = story(run) | {"picture": base64.b64encode(picture).decode()}
    return environment.get_template("report.html.j2").render(told)
