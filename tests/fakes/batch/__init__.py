"""Commands of batch systems, of which the jobs are processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_COMMANDS = ("sbatch", "squeue", "scancel", "preempt", "qsub", "qselect", "qstat", "qdel", "bsub", "bjobs", "bkill")


def install(folder: Path) -> dict[str, str]:
    """Puts the commands into a folder; returns the environment in which they are found."""
    bin_folder, greenshift = folder / "bin", folder / "bin" / "greenshift"
    bin_folder.mkdir()
    for command in _COMMANDS:
        target = bin_folder / command
        shutil.copy(Path(__file__).parent / "commands.py", target)
        target.write_text(f"#!{sys.executable}\n{target.read_text()}")
        target.chmod(0o755)
    # This checkout's program, whatever is installed.
    greenshift.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from service.cli import main; main()" "$@"\n')
    greenshift.chmod(0o755)
    root = str(Path(__file__).parents[3])
    return {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": root,
        "FAKE_BATCH": str(folder / "batch"),
    }


def jobs(folder: Path) -> dict[str, dict[str, Any]]:
    """All jobs that there have been, by number, as they were at the last command."""
    path = folder / "batch" / "jobs.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found
