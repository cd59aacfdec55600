from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
GUIDE = (FOLDER.parents[1] / "deploy/docs/shiftlayers.md").read_text()
TESTS = "\n".join(path.read_text() for path in FOLDER.glob("test_*.py"))


def test_every_block_of_python_runs_in_order(tmp_path):
    program = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL))
    (tmp_path / "guide.py").write_text(program)

    ran = subprocess.run([sys.executable, "guide.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"network.safetensors", "network.h", "network.onnx"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", GUIDE))))
def test_every_test_that_the_guide_names_exists(name):
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("link", re.findall(r"\]\(#([\w-]+)\)", GUIDE))
def test_every_link_within_the_guide_has_its_heading(link):
    headings = re.findall(r"^#+ (.*)$", GUIDE, flags=re.MULTILINE)

    assert link in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
