from __future__ import annotations

import signal
import sys
from importlib import metadata
from pathlib import Path

import pytest

from service import cluster
from service.schema import preset_names
from tests.service.cli.commands import Call, Done, assert_refused
from tests.service.processes import greenshift


def study_file(folder: Path, *lines: str) -> str:
    path = folder / "study.yaml"
    text = """\
name: toy
dataset: digits
network: resnet8
objectives: {error: minimize, deployment_energy: minimize}
fidelity: {name: shift_depth, min_fidelity: 3, max_fidelity: 10}
budget: {n_trials: 4}
"""
    path.write_text(text + "".join(f"{line}\n" for line in lines))
    return str(path)


def run_for_real(*arguments: str, cwd: Path) -> Done:
    done = greenshift(*arguments, cwd=cwd)
    return Done(done.returncode, done.stdout, done.stderr)


def test_presets_lists_every_study_in_a_line(tmp_path: Path) -> None:
    done = run_for_real("presets", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == preset_names()
    assert all(line[23] == " " for line in done.stdout.splitlines())


def test_the_console_script_stands_beside_the_interpreter() -> None:
    assert (Path(sys.executable).parent / "greenshift").is_file()


@pytest.mark.parametrize(("arguments", "said"), [(["--help"], "presets"), (["run", "--help"], "--n-trials")])
def test_help_is_no_error(call: Call, arguments: list[str], said: str) -> None:
    done = call(*arguments)
    assert done.returncode == 0
    assert said in done.stdout


def test_an_unknown_preset_is_refused(tmp_path: Path) -> None:
    done = run_for_real("run", "nonsense", "--out", "out", cwd=tmp_path)
    assert_refused(done, "nonsense", "digits")
    assert list(tmp_path.iterdir()) == []


def test_workers_are_said_to_start_only_where_they_do(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.5)
    file = study_file(tmp_path)
    (tmp_path / "taken").write_text("mine")
    refused = call("run", file, "--out", "taken")
    assert_refused(refused, "out: taken is no folder")
    assert refused.stdout == ""
    refused = call("run", file, "--out", "out", "--scheduler", "tcp://127.0.0.1:1")
    assert_refused(refused, "no Dask scheduler answers at tcp://127.0.0.1:1")
    assert refused.stdout == "asking the workers of tcp://127.0.0.1:1 ...\n"


def test_an_unknown_key_is_refused(call: Call, tmp_path: Path) -> None:
    assert_refused(call("run", study_file(tmp_path, "colour: red"), "--out", "out"), "colour", "unknown key")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run", "study: missing; see `greenshift run --help`"),
        ("walk", "walk: unknown command; see `greenshift --help`"),
        ("submitt", "submitt: unknown command (did you mean submit?); see `greenshift --help`"),
        ("token creat x", "creat: unknown command (did you mean create?); see `greenshift token --help`"),
        ("run digits --colour", "--colour: unknown option; see `greenshift run --help`"),
        (
            "worker --scheduler tcp://127.0.0.1:8786",
            "--scheduler: an argument, which is given without its name; see `greenshift worker --help`",
        ),
        ("certs --dir x", "--dir: an argument, which is given without its name; see `greenshift certs --help`"),
        ("run digits --workrs 2", "--workrs: unknown option (did you mean --workers?); see `greenshift run --help`"),
        ("run digits --workers", "option '--workers' requires an argument"),
        ("run digits more", "got unexpected extra argument(s) (more); see `greenshift run --help`"),
        ("run digits --workers 0", "workers: must be at least 1, got '0'; see `greenshift run --help`"),
        ("run digits --n-trials many", "n-trials: must be a whole number, got 'many'; see `greenshift run --help`"),
        ("run digits --seed -1", "seed: must be at least 0, got '-1'; see `greenshift run --help`"),
        ("serve --port 70000", "port: must be at most 65535, got '70000'; see `greenshift serve --help`"),
        ("report x", "out: missing; see `greenshift report --help`"),
        ("report x --out y --format pfd",
         "format: must be html, md, pdf, got 'pfd' (did you mean pdf?); see `greenshift report --help`"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_refused_in_one_line(call: Call, tmp_path: Path, arguments: str, said: str) -> None:
    assert call(*arguments.split()) == Done(2, "", f"error: {said}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "listed"), [([], "submit"), (["token"], "revoke")])
def test_without_a_command_all_are_listed(call: Call, arguments: list[str], listed: str) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stderr) == (2, "error: command: missing\n")
    assert any(line.split()[:1] == [listed] for line in done.stdout.splitlines())


def test_a_command_that_is_interrupted_says_so(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.cli.presets.preset_names", lambda: signal.raise_signal(signal.SIGINT))
    assert call("presets") == Done(130, "", "Interrupted.\n")


def test_a_seed_that_a_study_file_could_not_have_is_refused(call: Call) -> None:
    assert_refused(call("run", "digits", "--seed", str(2**40), "--workers", "1", "--n-trials", "1"), "seed")


@pytest.mark.parametrize("command", ["run digits --workers", "serve --port 0 --local-workers"])
def test_more_workers_than_can_be_are_refused_before_anything_is_started(
    call: Call, tmp_path: Path, command: str
) -> None:
    done = call(*command.split(), "1000000", "--out", "out")
    assert_refused(done, "error: workers must be 1..", "got 1000000")
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_hyperparameters_that_are_none_are_refused_before_anything_is_started(call: Call, tmp_path: Path) -> None:
    done = call("run", study_file(tmp_path, "ranges: {weight_bit: [2, 3], momentum: [1, 0]}"), "--out", "out")
    assert_refused(
        done, "ranges.weight_bit: no number", "did you mean weight_bits?", "ranges.momentum: must be two num"
    )
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_data_folder_that_nobody_named_is_refused_before_any_trial(tmp_path: Path) -> None:
    done = run_for_real("run", "fashion-mnist", "--workers", "1", "--out", "out", cwd=tmp_path)
    assert_refused(done, "data_dir", "GREENSHIFT_DATA_DIR")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_missing_data_folder_is_refused_and_files_of_others_stay(call: Call, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert_refused(call("run", "fashion-mnist", "--data-dir", "nowhere", "--workers", "1", "--out", "."), "nowhere")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_fidelity_deeper_than_the_network_is_refused_before_any_trial(call: Call, tmp_path: Path) -> None:
    path = Path(study_file(tmp_path))
    path.write_text(path.read_text().replace("max_fidelity: 10", "max_fidelity: 11"))
    assert_refused(call("run", str(path), "--workers", "1", "--out", "out"), "fidelity.max_fidelity", "1..10", "11")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_weights_that_no_worker_sees_are_refused_before_any_trial(call: Call, tmp_path: Path) -> None:
    done = call("run", study_file(tmp_path, "weights: /nowhere/resnet8.pt"), "--workers", "1", "--out", "out")
    assert_refused(done, "weights must be a file that the worker sees, got /nowhere/resnet8.pt")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("{country: XYZ}", ["site.country", "'XYZ'"]),
        ("{country: DEU, region: Atlantis}", ["site.region", "'Atlantis'"]),
    ],
)
def test_a_place_that_no_table_knows_is_refused_before_any_trial(tmp_path: Path, site: str, said: list[str]) -> None:
    done = run_for_real("run", study_file(tmp_path, f"site: {site}"), "--workers", "1", "--out", "out", cwd=tmp_path)
    assert_refused(done, *said)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert_refused(call("run", "digits", "--out", "out"), "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_finalizing_what_is_no_study_is_not_found(call: Call) -> None:
    done = call("finalize", "nowhere")

    assert done.returncode == 3
    assert done.stderr == "error: study: nowhere holds no study.sqlite\n"


def test_the_version_is_that_of_the_package(call: Call) -> None:
    assert call("--version").stdout == f"greenshift {metadata.version('greenshift')}\n"
