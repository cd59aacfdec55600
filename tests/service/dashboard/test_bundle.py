from __future__ import annotations

import pytest

from service.dashboard.assets import Assets
from service.dashboard.bundle import bundled

DOM = "// Elements.\n\nexport function make() {}\nconst OWN = 1;\n"
CHART = 'import { make } from "./dom.js";\n\nconst OWN = 2;\nexport class Chart {}\nexport const axis = () => make();\n'
PAGE = (
    'import { Chart, axis } from "./chart.js";\nimport { make } from "./dom.js";\n\nawait axis(new Chart(), make());\n'
)


def test_a_page_has_each_module_once_behind_what_it_imports_and_with_names_of_its_own() -> None:
    assert bundled({"page": PAGE, "chart": CHART, "dom": DOM, "other": "never();\n"}, "page") == (
        "// dom.js\nconst $dom = (() => {\n// Elements.\n\nfunction make() {}\nconst OWN = 1;\n"
        "return { make };\n})();\n"
        "// chart.js\nconst $chart = (() => {\nconst { make } = $dom;\n\nconst OWN = 2;\nclass Chart {}\n"
        "const axis = () => make();\nreturn { Chart, axis };\n})();\n"
        "// page.js\nconst { Chart, axis } = $chart;\nconst { make } = $dom;\n\nawait axis(new Chart(), make());\n"
    )


@pytest.mark.parametrize(
    "line", ['import * as dom from "./dom.js";', 'import { make as m } from "./dom.js";', "export default 3;"]
)
def test_other_forms_of_import_and_export_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="a script must import as") as refused:
        bundled({"page": f"{line}\n", "dom": DOM}, "page")
    assert f"got `{line}`" in str(refused.value)


def test_a_page_carries_no_module_of_another_page() -> None:
    script = Assets().find("study.js")
    assert script is not None
    text = script.content.decode()
    assert text.count("\n// front.js\n") == 1
    assert "// trial.js" not in text and "// studies.js" not in text
