"""The commands that talk to a service, against one that answers but runs nothing."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.live import LiveView
from service.schema import Study, StudyState, TrialState
from service.store import Store, Tokens, Workers, WorkerStatus
from service.study_run import StudyRun
from tests.service.cli.commands import Call, assert_refused
from tests.service.fakes import completed, failed, study_spec, trial
from tests.service.served import serving
from worker.schema import EpochMetrics, Failure, TrialResult

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    """One for all tests, each of which has a study of its own."""
    with Store(tmp_path_factory.mktemp("service") / "studies.sqlite") as store, serving(store) as url:
        yield store, url


@pytest.fixture
def store(service: tuple[Store, str], monkeypatch: pytest.MonkeyPatch) -> Store:
    """Of the service that commands find by the environment."""
    store, url = service
    monkeypatch.setenv("GREENSHIFT_URL", url)
    monkeypatch.delenv("GREENSHIFT_TOKEN", raising=False)
    return store


@pytest.fixture
def study(store: Store) -> Study:
    """A study that runs: two networks of which one dominates, a failure, and one that waits."""
    study = store.create_study(study_spec(name=f"study {next(NUMBERS)}"))
    store.set_study_state(study.study_id, StudyState.RUNNING)
    traceback = "Traceback (most recent call last):\n  nowhere\nValueError: on purpose\n"
    broken = failed("00003", study_id=study.study_id)
    assert broken.failure is not None
    broken = broken.model_copy(update={"failure": Failure(**dict(broken.failure) | {"traceback": traceback})})
    good = completed("00001", study_id=study.study_id, error=0.1, deployment_energy=1.0)
    bad = completed("00002", study_id=study.study_id, error=0.2, deployment_energy=2.0)
    for result in (good, bad, broken):
        add(store, study, result.trial_id)
        finish(store, study, result)
    add(store, study, "00004")
    store.record_epochs([EpochMetrics(
        study_id=study.study_id, trial_id="00001", attempt=1, epoch=1, training_loss=0.5, seconds=2.25)])  # fmt: skip
    return store.study(study.study_id)


def add(store: Store, study: Study, trial_id: str) -> None:
    store.add_trial(trial(trial_id, study_id=study.study_id))


def finish(store: Store, study: Study, result: TrialResult) -> None:
    store.start_attempt(store.trial(study.study_id, result.trial_id))
    store.finish_attempt(result, TrialState.FAILED if result.failure else TrialState.COMPLETED)


def test_submit_prints_the_id_and_nothing_else_for_programs(call: Call, store: Store) -> None:
    done = call("submit", "digits", "--json", "--n-trials", "7", "--seed", "3", "--name", "mine")
    (study,) = store.studies(newest_first=True, limit=1)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"study_id": study.study_id}, "")
    assert (study.spec.name, study.spec.budget.n_trials, study.spec.seed) == ("mine", 7, 3)


def test_a_study_that_cannot_be_is_refused_before_it_is_stored(call: Call, store: Store, tmp_path: Path) -> None:
    n_before = len(store.studies())
    (tmp_path / "bad.yaml").write_text("name: bad\ncolour: red\n")
    assert_refused(call("submit", "bad.yaml"), "colour")
    assert_refused(call("submit", "nonsense"), "nonsense", "digits")
    assert len(store.studies()) == n_before


def test_studies_are_listed_for_programs_and_for_people(call: Call, study: Study) -> None:
    listed = json.loads(call("studies", "--json").stdout)
    assert listed[0] == {"study_id": study.study_id, "name": study.spec.name, "state": "RUNNING"}
    (line,) = [line for line in call("studies").stdout.splitlines() if study.study_id in line]
    assert study.spec.name in line and "2 completed" in line


@pytest.mark.parametrize("by", ["study_id", "name"])
def test_status_has_the_keys_that_programs_rely_on(call: Call, study: Study, by: str) -> None:
    found = json.loads(call("status", getattr(study, by, study.spec.name), "--json").stdout)
    known = ["energy_joules", "energy_joules_by_quality"]
    assert list(found) == ["study_id", "state", "n_trials", "hypervolume", "reference_point", *known, "reason"]
    assert found["n_trials"] == {"waiting": 1, "running": 0, "completed": 2, "failed": 1, "stopped": 0}
    assert found["energy_joules"] == 10.0
    # From a tenth of the range beyond the worst: (0.21, 2.1); the best is (0.1, 1), and so is the whole front.
    assert found["hypervolume"] == pytest.approx(0.11 * 1.1)


def test_status_for_people_says_how_many_and_how_much(call: Call, study: Study) -> None:
    said = call("status", study.spec.name).stdout
    assert "2 completed" in said and "1 failed" in said and "energy spent: 10 J estimated" in said


def test_status_says_why_nothing_runs(call: Call, store: Store, study: Study) -> None:
    assert "nothing runs: the service has no cluster" in call("status", study.study_id).stdout
    Workers(store).record([])
    assert "nothing runs: no worker is there" in call("status", study.study_id).stdout
    Workers(store).record([WorkerStatus("tcp://10.0.0.1:1", "node1", "GPU", 1, 0, "H100", ())])
    assert "nothing runs" not in call("status", study.study_id).stdout
    store.set_study_state(study.study_id, StudyState.COMPLETED)
    assert "nothing runs" not in call("status", study.study_id).stdout


def test_status_does_not_make_up_what_is_unknown(call: Call, store: Store) -> None:
    empty = store.create_study(study_spec(name="empty"))
    assert "energy spent: unknown" in call("status", empty.study_id).stdout


def test_what_made_a_study_fail_is_said_wherever_it_is_shown(
    call: Call, store: Store, study: Study, tmp_path: Path
) -> None:
    store.set_study_state(study.study_id, StudyState.FAILED, "dataset: digitz is unknown\nallowed are digits")
    why = "FAILED: dataset: digitz is unknown; allowed are digits"
    assert f"{study.spec.name} ({study.study_id}): {why}" in call("status", study.study_id).stdout
    assert json.loads(call("status", study.study_id, "--json").stdout)["reason"].startswith("dataset: digitz")
    assert call("watch", study.study_id).stderr.endswith(f" is {why}\n")
    assert why in call("export", study.study_id, "--to", "csv", "--out", "there").stdout
    assert why in (tmp_path / "there" / "report.html").read_text()


def test_trials_are_a_table_for_people_and_json_for_programs(call: Call, study: Study) -> None:
    listed = json.loads(call("trials", study.study_id, "--json").stdout)
    assert [(t["trial_id"], t["state"]) for t in listed] == [
        ("00001", "COMPLETED"), ("00002", "COMPLETED"), ("00003", "FAILED"), ("00004", "WAITING"),
    ]  # fmt: skip
    lines = {line.split()[0]: line for line in call("trials", study.study_id).stdout.splitlines() if "0000" in line}
    for said in ("COMPLETED", "depth 10, epochs 20", "100 mJ", "deepshift-q w3", "fake:1"):
        assert said in lines["00001"]
    assert "diverged: on purpose" in lines["00003"]
    assert "WAITING" in lines["00004"] and "unknown" not in lines["00004"]


@pytest.mark.parametrize("is_running", [True, False])
def test_a_trial_that_is_tried_again_has_no_reason_any_more(
    call: Call, store: Store, study: Study, is_running: bool
) -> None:
    again = store.retry_trial(store.trial(study.study_id, "00003"), "")
    if is_running:
        store.start_attempt(again)
    (line,) = [line for line in call("trials", study.study_id).stdout.splitlines() if "00003" in line]
    assert ("RUNNING" if is_running else "WAITING") in line
    assert "diverged" not in line and "fake:1" not in line


def test_the_front_is_a_table_json_or_the_csv_of_run(call: Call, study: Study) -> None:
    assert [t["trial_id"] for t in json.loads(call("front", study.spec.name, "--json").stdout)] == ["00001"]
    (row,) = csv.DictReader(io.StringIO(call("front", study.spec.name, "--csv").stdout))
    assert (row["trial_id"], row["error"], row["deployment_energy_method"]) == ("00001", "0.1", "analytic")
    table = call("front", study.spec.name).stdout
    assert "00001" in table and "00002" not in table
    assert_refused(call("front", study.spec.name, "--csv", "--json"), "choose one")


def test_a_study_without_a_front_says_so_to_people_and_is_empty_to_programs(call: Call, store: Store) -> None:
    empty = store.create_study(study_spec(name="no front"))
    said = call("front", empty.study_id).stdout
    assert said.startswith(f"no front ({empty.study_id}) has no front: ")
    assert said.endswith("; the study is WAITING\n")
    assert len(said.splitlines()) == 1
    assert json.loads(call("front", empty.study_id, "--json").stdout) == []
    assert len(call("front", empty.study_id, "--csv").stdout.splitlines()) == 1


def test_export_writes_the_files_of_run_and_two_tables_more(call: Call, study: Study, tmp_path: Path) -> None:
    done = call("export", study.spec.name, "--to", "csv", "--out", "there")
    assert done.returncode == 0, done.stderr
    there = tmp_path / "there"
    assert {p.name for p in there.iterdir()} == {
        "trials.csv", "front.csv", "ledger.csv", "pareto.png", "pareto.svg", "hypervolume.svg", "report.html",
        "study.yaml", "measurements.csv", "attempts.csv", ".greenshift-export.json",
    }  # fmt: skip
    rows = list(csv.DictReader((there / "trials.csv").read_text().splitlines()))
    assert [r["state"] for r in rows] == ["COMPLETED", "COMPLETED", "FAILED", "WAITING"]
    assert (there / "front.csv").read_text().splitlines() == call("front", study.spec.name, "--csv").stdout.splitlines()
    causes = {r["cause"]: r["joules"] for r in csv.DictReader((there / "ledger.csv").read_text().splitlines())}
    assert causes == {"completed": "10.0", "failed": ""}


def test_an_export_to_something_else_is_refused(call: Call, study: Study) -> None:
    assert_refused(call("export", study.spec.name, "--to", "xlsx", "--out", "there"), "xlsx", "csv", "parquet")


@pytest.mark.parametrize("command", ["pause", "resume", "stop"])
def test_what_is_asked_of_a_study_is_written_down_for_its_coordinator(
    call: Call, store: Store, study: Study, command: str
) -> None:
    assert call(command, study.spec.name).returncode == 0
    assert [(r.kind, r.trial_id) for r in store.requests(study.study_id)] == [(command, None)]


@pytest.mark.parametrize(
    ("command", "trial_id", "kind"), [("retry", "00003", "retry"), ("cancel-trial", "00004", "cancel")]
)
def test_what_is_asked_of_a_trial_is_written_down_for_its_coordinator(
    call: Call, store: Store, study: Study, command: str, trial_id: str, kind: str
) -> None:
    assert call(command, study.spec.name, trial_id).returncode == 0
    assert [(r.kind, r.trial_id) for r in store.requests(study.study_id)] == [(kind, trial_id)]


def test_a_request_that_makes_no_difference_now_says_so(call: Call, store: Store, study: Study) -> None:
    assert "(it is RUNNING, and does so by itself)" in call("resume", study.study_id).stdout
    store.set_study_state(study.study_id, StudyState.PAUSED)
    assert "once the study is resumed" in call("retry", study.study_id, "00003").stdout
    assert call("resume", study.study_id).stdout == f"Asked for: {study.spec.name} will go on.\n"


def test_logs_tell_attempts_epochs_and_tracebacks(call: Call, study: Study) -> None:
    fine, broken = call("logs", study.spec.name, "00001").stdout, call("logs", study.spec.name, "00003").stdout
    assert "attempt 1 on fake:1 completed after 2.0 s: error 0.1 J" in fine
    assert "      1  0.5  2.2" in fine
    assert "diverged: on purpose" in broken
    assert "    ValueError: on purpose" in broken.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "nothing"],
        ["watch", "nothing"],
        ["pause", "nothing"],
        ["front", "nothing"],
        ["logs", "STUDY", "99999"],
        ["retry", "STUDY", "99999"],
        ["retry", "STUDY", "00001"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_or_refused_is_code_3_in_one_line(call: Call, study: Study, arguments: list[str]) -> None:
    done = call(*(study.study_id if a == "STUDY" else a for a in arguments))
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
    assert done.stderr.startswith("error: ")


def test_a_service_that_does_not_answer_is_code_4_in_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENSHIFT_URL", "http://127.0.0.1:9")
    done = call("studies")
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), done.stderr
    assert "127.0.0.1:9" in done.stderr


def test_a_service_that_wants_a_token_is_given_that_of_the_environment(
    call: Call, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(store, require_token=True) as url:
        monkeypatch.setenv("GREENSHIFT_URL", url)
        monkeypatch.setenv("GREENSHIFT_TOKEN", "gs_wrong")
        assert call("studies").returncode == 3
        monkeypatch.setenv("GREENSHIFT_TOKEN", Tokens(store).create_token("laptop"))
        assert call("studies", "--json").returncode == 0


def test_workers_say_what_they_offer_and_who_has_set_them_aside(call: Call, store: Store, study: Study) -> None:
    Workers(store).record([WorkerStatus("tcp://10.0.0.1:1", "node1", "GPU", 1, 1, "H100", (study.study_id,))])
    (worker,) = json.loads(call("workers", "--json").stdout)["workers"]
    assert (worker["name"], worker["n_running"], worker["set_aside_by"]) == ("node1", 1, [study.study_id])
    shown = call("workers").stdout
    (line,) = [line for line in shown.splitlines() if "node1" in line]
    assert re.search(r"^As the service saw them \d+ s ago\.$", shown, re.MULTILINE)
    assert "H100" in line and "1 GPU" in line


def test_a_drained_worker_is_shown_as_such_until_it_is_taken_back(call: Call, store: Store) -> None:
    Workers(store).record([WorkerStatus("tcp://10.0.0.1:1", "node1", "GPU", 1, 1, "H100")])
    assert call("workers", "drain", "node1").returncode == 0
    assert [w["state"] for w in json.loads(call("workers", "--json").stdout)["workers"]] == ["draining"]
    assert "1, draining" in call("workers").stdout
    assert call("workers", "undrain", "node1").returncode == 0
    assert "draining" not in call("workers").stdout
    done = call("workers", "drain", "node2")
    assert (done.returncode, done.stderr) == (3, "error: name: there is no worker 'node2'\n")


def test_watch_tells_each_trial_once_and_ends_with_the_study(
    call: Call, store: Store, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = LiveView.show

    def go_on(view: LiveView, run: StudyRun) -> None:
        """The study does, once its first state has been shown."""
        show(view, run)
        monkeypatch.setattr(LiveView, "show", show)
        finish(store, study, completed("00004", study_id=study.study_id, error=0.3, deployment_energy=0.5))
        store.set_study_state(study.study_id, StudyState.COMPLETED)

    monkeypatch.setattr(LiveView, "show", go_on)
    done = call("watch", study.spec.name)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert [line.split(" (")[0] for line in told] == [
        "[1 of 10] trial 00001 COMPLETED",
        "[2 of 10] trial 00002 COMPLETED",
        "[3 of 10] trial 00003 FAILED",
        "[4 of 10] trial 00004 COMPLETED",
    ]
    assert done.stdout.startswith(f"{study.spec.name} ({study.study_id}) is RUNNING\n")
    assert "On the front: 2 networks" in done.stdout


@pytest.mark.parametrize("state", [StudyState.FAILED, StudyState.STOPPED])
def test_waiting_for_a_study_that_does_not_complete_is_code_5(
    call: Call, store: Store, study: Study, state: StudyState
) -> None:
    store.set_study_state(study.study_id, state)
    done = call("watch", study.spec.name)
    assert (done.returncode, done.stderr) == (5, f"error: study {study.spec.name} ({study.study_id}) is {state}\n")


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        (StudyState.FAILED, 5, "error: study mine (ID) is FAILED: network must be one of resnet8; got 'resnet80'"),
        (StudyState.RUNNING, 0, "Submitted mine; watch it with: greenshift watch ID"),
    ],
)
def test_submit_says_what_workers_do_not_have_where_they_are_there_to_tell(
    call: Call, store: Store, monkeypatch: pytest.MonkeyPatch, state: StudyState, code: int, said: str
) -> None:
    def later(_seconds: float) -> None:
        (study,) = store.studies(newest_first=True, limit=1)
        store.set_study_state(study.study_id, state, "network must be one of resnet8; got 'resnet80'")

    Workers(store).record([WorkerStatus("tcp://10.0.0.1:1", "node1", "GPU", 1, 0, "H100", ())])
    monkeypatch.setattr("service.cli.submit.sleep", later)
    done = call("submit", "digits", "--name", "mine")
    study_id = json.loads(done.stdout)["study_id"]
    assert (done.returncode, done.stderr) == (code, f"asking the workers ...\n{said.replace('ID', study_id)}\n")
