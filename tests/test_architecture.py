from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from service.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "worker", "shiftlayers")
STANDARD = sys.stdlib_module_names
# Every module of the service may import these.
EVERYWHERE = {"service.schema", "service.errors", "worker.schema"}
# Part of the service -> further parts that it may import; its own modules always.
ARROWS = {
    "bounds": set(),
    "documents": set(),
    "names": set(),
    "faults": {"names"},
    "schema": {"bounds", "documents", "faults", "names"},
    "drawing": {"report", "wire"},
    "errors": set(),
    "extras": set(),
    "settings": set(),
    "telemetry": set(),
    "wire": {"names"},
    "findings": set(),
    "analysis": {"compared", "findings", "ledger", "pareto", "ranking", "spread"},
    "api": {
        "analysis",
        "budget",
        "dashboard",
        "faults",
        "findings",
        "ledger",
        "names",
        "ranking",
        "space",
        "spread",
        "store",
        "wire",
    },
    "dashboard": set(),
    "spread": set(),
    "client": {"drawing", "findings", "wire"},
    "presets": set(),
    "pareto": set(),
    "space": {"faults"},
    "store": set(),
    "optimizer": set(),
    "access": set(),
    "certificates": {"access"},
    "workers": {"access"},
    "upkeep": {"workers"},
    "interrupts": set(),
    "cluster": {"access", "interrupts", "upkeep", "workers"},
    "compared": set(),
    "baselines": {"compared", "space"},
    "ranking": {"compared", "pareto"},
    "ledger": set(),
    "budget": {"ledger", "store"},
    "fleet": set(),
    "handover": set(),
    "dispatch": {"fleet", "handover", "worker.entry"},
    "sharing": {"dispatch"},
    "scores": set(),
    "report": {"analysis", "compared", "ledger", "pareto", "ranking", "scores", "spread", "study_run", "wire"},
    "exchange": {"analysis", "extras", "optimizer", "pareto", "ranking", "space", "study_run", "wire"},
    "study_run": {"drawing", "ledger", "ranking", "scores"},
    "checkpoints": set(),
    "specs": set(),
    "tasks": set(),
    "proposals": {"optimizer"},
    "known": {"optimizer", "proposals", "specs"},
    "artifacts": {"ranking"},
    "progress": {"ranking"},
    "limits": {"budget", "progress", "store"},
    "outputs": {"artifacts", "checkpoints", "specs"},
    "seen": {"store"},
    "asking": {"optimizer", "telemetry"},
    "recovery": {"optimizer", "proposals", "store"},
    "coordinator": {
        "asking",
        "baselines",
        "dispatch",
        "limits",
        "optimizer",
        "outputs",
        "proposals",
        "recovery",
        "store",
        "telemetry",
    },
    "earlier": {"pareto", "ranking", "store"},
    "warmstart": {"earlier", "space", "store"},
    "assembly": {
        "baselines",
        "coordinator",
        "dispatch",
        "earlier",
        "known",
        "optimizer",
        "space",
        "store",
        "tasks",
        "warmstart",
    },
    "finalize": {"dispatch", "ranking", "scores", "specs", "store"},
    "roster": {"fleet", "store", "telemetry"},
    "demand": {"scaling", "store"},
    "supervisor": {
        "assembly",
        "coordinator",
        "demand",
        "dispatch",
        "earlier",
        "fleet",
        "roster",
        "sharing",
        "store",
        "telemetry",
        "warmstart",
    },
    "logs": set(),
    "server": {
        "access",
        "artifacts",
        "assembly",
        "cluster",
        "dispatch",
        "earlier",
        "finalize",
        "ledger",
        "scores",
        "seen",
        "space",
        "store",
        "study_run",
        "warmstart",
        "workers",
    },
    "serving": {
        "access",
        "api",
        "certificates",
        "cluster",
        "settings",
        "store",
        "supervisor",
        "telemetry",
        "workers",
    },
    "showing": {"api", "store"},
    "batch": {"access"},
    "scaling": set(),
    "scaler": {"batch", "scaling", "wire"},
    "carbon_series": {"scaling"},
    "cli": {
        "access",
        "artifacts",
        "batch",
        "carbon_series",
        "certificates",
        "client",
        "coordinator",
        "exchange",
        "extras",
        "faults",
        "finalize",
        "ledger",
        "logs",
        "ranking",
        "report",
        "scaler",
        "scaling",
        "scores",
        "server",
        "serving",
        "settings",
        "showing",
        "specs",
        "store",
        "study_run",
        "tasks",
        "upkeep",
        "wire",
        "worker.entry",
        "worker.errors",
        "workers",
    },
}
# Files with imports inside functions, and what need not be there or be loaded for that.
DEFERRED = {
    "worker/entry.py": "torch",
    "worker/data/cifar.py": "torchvision",
    "worker/data/digits.py": "scikit-learn",
    "worker/data/svhn.py": "scipy.io",
    "worker/models/torchvision_networks.py": "torchvision",
    "worker/optimizers.py": "pytorch_optimizer",
    "service/dispatch.py": "the worker, on the side of the service",
    "service/drawing.py": "matplotlib, where nobody looks at a picture",
    "service/report/parquet.py": "pyarrow, an extra",
    "service/exchange/begin.py": "optuna, an extra",
    "service/cli/report.py": "fpdf2, an extra",
    "service/cli/export_exchange.py": "optuna and mlflow, extras, and ConfigSpace",
    "service/cli/importing.py": "ConfigSpace",
}
# Who loads modules by strings: extras of ours, which the table reads as well, and the commands.
BY_STRING = {"service/extras.py", "service/cli/app.py"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    file: str
    module: str
    is_deferred: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]


def files(*packages: str) -> Iterator[Path]:
    for package in packages or PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path) for path in files()}


def imports(*packages: str) -> list[Import]:
    return [found for path in files(*packages) for found in imports_of(path)]


@cache
def imports_of(path: Path) -> list[Import]:
    tree = ast.parse(path.read_text())
    deferred = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(node)
    }
    file = str(path.relative_to(ROOT))
    found = ((module, node) for node in ast.walk(tree) for module in imported_modules(node))
    return [Import(file, module, id(node) in deferred) for module, node in found]


def imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        # `from service import pareto` imports the module service.pareto.
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else str(node.module) for name in names]
    # What `service.extras.loaded` loads by its name in a string is imported as well.
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "loaded":
        return [ast.literal_eval(node.args[0])]
    return []


def importers(*modules: str) -> set[str]:
    return {found.file for found in imports() if found.top in modules}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_shiftlayers_imports_torch_numpy_safetensors_and_nothing_of_ours() -> None:
    tops = {found.top for found in imports("shiftlayers")} - STANDARD
    assert tops <= {"torch", "numpy", "safetensors", "shiftlayers"}


def test_a_worker_knows_no_cluster_no_optimizer_and_no_service() -> None:
    tops = {found.top for found in imports("worker")}
    assert not tops & {"dask", "distributed", "smac", "service", "sqlalchemy"}


def test_the_service_never_imports_torch() -> None:
    tops = {found.top for found in imports("service")}
    assert not tops & {"torch", "torchvision", "shiftlayers", "codecarbon", "pytorch_optimizer"}


def test_only_the_optimizer_imports_smac() -> None:
    found = importers("smac")
    assert found
    assert all(path.startswith("service/optimizer/") for path in found)


def test_only_dispatch_and_cluster_import_dask() -> None:
    assert importers("dask", "distributed") == {
        "service/dispatch.py",
        "service/fleet.py",
        "service/handover.py",
        "service/cluster.py",
        "service/supervisor.py",
    }


def test_only_the_store_imports_sqlalchemy() -> None:
    assert {str(Path(file).parent) for file in importers("sqlalchemy", "alembic", "psycopg")} <= {
        "service/store",
        "service/store/migrations",
        "service/store/migrations/versions",
    }


def test_only_one_door_of_the_worker_and_what_starts_workers_import_pynvml() -> None:
    assert importers("pynvml") == {"worker/energy/nvml.py", "service/workers.py"}


@pytest.mark.parametrize("path", list(files("service")), ids=module_name)
def test_a_module_of_the_service_imports_only_what_the_table_allows(path: Path) -> None:
    part = part_of(module_name(path))
    allowed = ARROWS[part] if part else set()
    ours = {found.module for found in imports_of(path) if found.top in PACKAGES}
    beyond = {m for m in ours - EVERYWHERE if part_of(m) != part and m not in allowed and part_of(m) not in allowed}
    assert beyond == set()


def test_every_part_of_the_service_stands_in_the_table() -> None:
    assert {part_of(module_name(path)) for path in files("service")} - {""} == set(ARROWS)


def test_schema_and_errors_of_the_service_know_no_other_part() -> None:
    schema = {f.module for f in imports_of(ROOT / "service/schema.py") if f.top in PACKAGES}
    errors = {f.module for f in imports_of(ROOT / "service/errors.py") if f.top in PACKAGES}
    assert schema <= {
        "service.errors",
        "service.bounds",
        "service.documents",
        "service.faults",
        "service.names",
        "worker.schema",
    }
    assert errors == set()


def test_a_worker_is_reached_by_its_door_only_and_by_dispatch_only_inside_functions() -> None:
    reached = [f for f in imports("service") if f.top == "worker" and f.module != "worker.schema"]
    assert {(f.file, f.module, f.is_deferred) for f in reached} == {
        ("service/dispatch.py", "worker.entry", True),
        ("service/cli/export_models.py", "worker.entry", False),
        ("service/cli/export_models.py", "worker.errors", False),
        ("service/cli/importing.py", "worker.entry", False),
        ("service/cli/importing.py", "worker.errors", False),
        ("service/cli/selftest.py", "worker.entry", False),
        ("service/cli/trial.py", "worker.entry", False),
    }


def test_api_and_coordinator_never_meet() -> None:
    both = {"api": "coordinator", "coordinator": "api"}
    for found in imports("service"):
        part = part_of(module_name(ROOT / found.file))
        assert not (part in both and part_of(found.module) == both[part])


def test_no_module_imports_itself_by_a_detour() -> None:
    arrows = {module_name(path): {f.module for f in imports_of(path) if f.module in MODULES} for path in files()}
    # Take away modules that import nothing left, again and again; a cycle remains.
    while free := {module for module, targets in arrows.items() if not targets}:
        arrows = {module: targets - free for module, targets in arrows.items() if module not in free}
    assert arrows == {}


def test_deferred_imports_stand_only_where_they_are_meant() -> None:
    assert {found.file for found in imports() if found.is_deferred} == set(DEFERRED)


def test_modules_are_loaded_by_strings_in_two_places_alone() -> None:
    words = ("import_module", "__import__", "exec_module", "run_module")
    found = {str(path.relative_to(ROOT)) for path in files() if any(word in path.read_text() for word in words)}
    assert found == BY_STRING


def test_a_trial_loads_what_few_networks_need_only_where_it_is_asked_for() -> None:
    slow = {"torchvision", "pytorch_optimizer", "scipy", "sklearn"}
    code = f"import sys, worker.trial; print([m for m in {slow} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("modules", ["service.server, service.cli", "worker.entry, worker.schema"])
def test_importing_the_service_loads_no_torch(modules: str) -> None:
    code = f"import sys, {modules}; print([m for m in ('torch', 'torchvision', 'codecarbon') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    assert out.stdout.strip() == "[]"


def modules_of(commands: set[str]) -> set[str]:
    """Top-level modules that are loaded once these commands are, in a process of their own."""
    code = (
        "import sys, json; from service.cli.app import COMMANDS, LazyCommand\n"
        f"for name in {sorted(commands)}: LazyCommand(name, *COMMANDS[name]).load()\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    return set(json.loads(out.stdout))


def test_commands_that_compute_nothing_load_neither_optimizer_nor_cluster_nor_networks() -> None:
    light = set(COMMANDS) - {"run", "finalize", "serve"}
    assert not modules_of(light) & {"smac", "dask", "distributed", "sklearn", "torch", "ConfigSpace"}


def test_commands_that_ask_a_service_load_no_database_and_no_plots() -> None:
    light = set(COMMANDS) - {"run", "finalize", "serve", "token", "export", "report"}
    assert not modules_of(light) & {"sqlalchemy", "alembic", "matplotlib", "fastapi", "uvicorn", "jinja2"}


def test_the_list_of_commands_loads_none_of_them() -> None:
    assert not modules_of(set()) & {"pydantic", "numpy", "httpx2", "yaml"}


def test_the_deprecated_distribution_pynvml_is_not_installed() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("pynvml")


def test_the_top_level_folders_are_five() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in listed.splitlines() if "/" in line and not line.startswith(".")}
    assert folders <= {"service", "worker", "shiftlayers", "deploy", "tests"}


@pytest.mark.parametrize("path", list(files()), ids=module_name)
def test_a_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450
