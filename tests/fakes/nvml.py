"""An NVML library that needs no GPU: fake_nvml.c, compiled once, for processes that load it by LD_LIBRARY_PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")
REPOSITORY = Path(__file__).parents[2]
FIRST_GPU = "GPU-fa4e0000-0000-4000-8000-000000000000"
SECOND_GPU = "GPU-fa4e0001-0000-4000-8000-000000000000"
LIBRARY = "libnvidia-ml.so.1"


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the compiled fake; without gcc every test that needs it is skipped."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("NO GCC: the fake NVML cannot be built, and the GPU's energy counter is NOT TESTED")
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", "-o", str(folder / LIBRARY), str(SOURCE)],
        check=True,
        capture_output=True,
        timeout=240,
    )
    return folder


def run_python(script: str, library_folder: Path, working_folder: Path | None = None, **environment: str) -> Any:
    """What a fresh interpreter printed as JSON, with the libraries of `library_folder` found first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FNVML_")}
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=working_folder or library_folder,
        env={
            **inherited,
            "LD_LIBRARY_PATH": str(library_folder),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])
