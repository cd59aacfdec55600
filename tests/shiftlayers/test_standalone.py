from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import shiftlayers

ALLOWED = ("torch", "numpy", "safetensors")
# Runs where these and what they require are all that is installed. Its last line of output is what it found.
PROGRAM = """
import copy, importlib, json, pkgutil, sys
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

import shiftlayers
from shiftlayers import (
    ShiftConfig, ShiftLayer, convert_to_shift, estimate_cost, exactness_report, fold, load_packed, save_packed,
)

submodules = [module.name for module in pkgutil.walk_packages(shiftlayers.__path__, "shiftlayers.")]
for name in submodules:
    importlib.import_module(name)

def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3))

torch.manual_seed(0)
model = convert_to_shift(network(), ShiftConfig(activation_bits=(4, 4)), example_input=torch.zeros(1, 1, 6, 6))
before = copy.deepcopy(model.state_dict())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(6, 1, 6, 6)
loss = nn.functional.cross_entropy(model.train()(x), torch.arange(6) % 3)
loss.backward()
optimizer.step()
path = Path(sys.argv[1], "model.safetensors")
with torch.no_grad():
    output = model.eval()(x)
    save_packed(model, path)
    loaded = load_packed(path, network()).eval()(x)
    folded = fold(model)
    folded_output = folded(x)

print(json.dumps({
    "submodules": submodules,
    "findable": [name for name in json.loads(sys.argv[2]) if find_spec(name)],
    "n_shift_layers": sum(isinstance(module, ShiftLayer) for module in model.modules()),
    "changed": [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])],
    "loaded_is_equal": torch.equal(loaded, output),
    "folded_is_equal": torch.equal(folded_output, output),
    "n_folded_shift_layers": sum(isinstance(module, ShiftLayer) for module in folded.modules()),
    "exact": [[layer.name, sorted(layer.guaranteed)] for layer in exactness_report(model, (4, 4))],
    "macs": [[layer.name, layer.macs] for layer in estimate_cost(model, (1, 6, 6)).layers],
}))
"""


def required(*names: str) -> set[str]:
    """The distributions `names` and all that they require here, each with the extras asked for."""
    seen: set[tuple[str, str]] = set()
    pending = [(name, "") for name in names]
    while pending:
        name, extra = wanted = pending.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                pending += [(requirement.name, e) for e in ("", *requirement.extras)]
    return {metadata.distribution(name).metadata["Name"] for name, _ in seen}


def install(names: set[str], folder: Path) -> None:
    """Links all that the distributions `names` put into site-packages, and the package under test."""
    for name in names:
        distribution = metadata.distribution(name)
        for top in {Path(file).parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(distribution.locate_file(top))
    (folder / "shiftlayers").symlink_to(Path(shiftlayers.__file__).parent)


def modules_beyond(names: set[str]) -> list[str]:
    """Importable here, and neither of the standard library nor of the distributions `names`."""
    others = {top for top, owners in metadata.packages_distributions().items() if not names & set(owners)}
    return sorted({"service", "worker", "tests", *others} - sys.stdlib_module_names - {"shiftlayers"})


@pytest.fixture(scope="module")
def foreign() -> list[str]:
    return modules_beyond(required(*ALLOWED))


@pytest.fixture(scope="module")
def found(tmp_path_factory, foreign) -> dict[str, Any]:
    """What the program found where nothing else is installed."""
    room, output = tmp_path_factory.mktemp("site-packages"), tmp_path_factory.mktemp("output")
    install(required(*ALLOWED), room)
    code = f"import sys; sys.path.append({str(room)!r})\n{PROGRAM}"
    # Without site-packages, the environment's variables and the folder of the call.
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", code, str(output), json.dumps(foreign)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=output, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_else_is_installed_there(found, foreign):
    assert {"pydantic", "scipy", "service", "sklearn", "sqlalchemy", "torchvision", "worker", "yaml"} <= set(foreign)
    assert found["findable"] == []


def test_every_module_of_the_package_is_imported(found):
    files = Path(shiftlayers.__file__).parent.glob("*.py")
    assert {f"shiftlayers.{file.stem}" for file in files} - {"shiftlayers.__init__"} <= set(found["submodules"])


def test_a_network_is_converted_and_trained(found):
    assert found["n_shift_layers"] == 2
    assert {"0.weight", "4.weight", "4.bias"} <= set(found["changed"])


def test_a_packed_network_comes_back(found):
    assert found["loaded_is_equal"]


def test_a_network_is_folded(found):
    assert found["folded_is_equal"]
    assert found["n_folded_shift_layers"] == 0


def test_a_network_is_reported_exact(found):
    assert [name for name, _ in found["exact"]] == ["0", "4"]
    assert all("fp32" in formats for _, formats in found["exact"])


def test_a_network_is_costed(found):
    assert found["macs"] == [["0", 4 * 16 * 9], ["4", 64 * 3]]
