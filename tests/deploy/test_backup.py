"""Copies of the store, made while it is in use, from which a service goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from service.schema import TrialState
from service.store import Store
from tests.deploy.kustomize import build
from tests.deploy.test_kubernetes import KUBERNETES, pods
from tests.service.fakes import completed, study_spec, trial
from tests.service.postgresql import Server

BACKUP = Path(__file__).parents[2] / "deploy" / "backup.sh"


def backup(url: str, folder: Path, *options: str, **environment: str) -> Path:
    """Makes a copy; where it is."""
    command = [str(BACKUP), str(folder), *options]
    environment = os.environ | {"GREENSHIFT_DATABASE_URL": url} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def record(store: Store, study_id: str, number: int) -> None:
    """Records a trial from its beginning to its end."""
    name = f"{number:05}"
    store.add_trial(trial(name, study_id=study_id))
    store.start_attempt(store.trial(study_id, name))
    store.finish_attempt(completed(name, study_id=study_id, error=0.1, deployment_energy=1.0), TrialState.COMPLETED)


def test_a_copy_of_a_running_study_is_its_log_up_to_some_moment(tmp_path: Path) -> None:
    path, done = tmp_path / "studies.sqlite", threading.Event()
    with Store(path) as store:
        study = store.create_study(study_spec())

        def go_on() -> None:
            number = 0
            while not done.is_set():
                record(store, study.study_id, number)
                number += 1

        running = threading.Thread(target=go_on)
        running.start()
        try:
            copies = [backup(f"sqlite:///{path}", tmp_path / "backups") for _ in range(3)]
        finally:
            done.set()
            running.join()
        whole = store.events(study.study_id)
    lengths = []
    for copy in copies:
        with Store(copy) as restored:
            events = restored.events(study.study_id)
            assert events == whole[: len(events)]
            lengths.append(len(events))
            trials = restored.trials(study.study_id)
            restored.rebuild(study.study_id)
            assert restored.trials(study.study_id) == trials
            record(restored, study.study_id, 99_999)  # it goes on
    assert lengths == sorted(lengths) and 0 < lengths[0] <= lengths[-1] <= len(whole)


def test_postgresql_is_copied_and_comes_back(postgresql: Server, new_postgresql_url: str, tmp_path: Path) -> None:
    path = f"{postgresql.programs}:{os.environ['PATH']}"
    with Store(new_postgresql_url) as store:
        study = store.create_study(study_spec())
        record(store, study.study_id, 1)
        copy = backup(new_postgresql_url, tmp_path, PATH=path)
        events = store.events(study.study_id)
    postgresql.execute("CREATE DATABASE restored")
    url = postgresql.url("restored")
    restore = [str(postgresql.programs / "pg_restore"), "--no-owner", "--exit-on-error", f"--dbname={url}", str(copy)]
    subprocess.run(restore, check=True)
    with Store(url) as restored:
        assert restored.events(study.study_id) == events
        record(restored, study.study_id, 2)
    postgresql.execute("DROP DATABASE restored WITH (FORCE)")


def in_pod(overlay: str, name: str, postgresql: Server, folder: Path, database: str) -> None:
    """Runs the script of a pod, with this server and folder in place of the cluster's."""
    _, spec = pods(build(KUBERNETES / "overlays" / overlay))[name]
    (container,) = spec["containers"]
    (script,) = container["args"]
    given = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    given |= {"PGHOST": str(postgresql.folder), "PGUSER": "postgres"}
    given |= {"PGDATABASE": database} if "PGDATABASE" in given else {}
    given["PATH"] = f"{postgresql.programs}:{os.environ['PATH']}"
    script = re.sub(r"/backups(?=[/ ])", str(folder), script)
    script = script.replace("DATABASE greenshift", f"DATABASE {database}").replace("TO greenshift", f"TO {database}")
    subprocess.run([*container["command"], script], env=os.environ | given, check=True)


def test_a_database_of_kubernetes_comes_back_as_it_was_copied_and_only_the_newest_copies_are_kept(
    postgresql: Server, new_postgresql_url: str, tmp_path: Path
) -> None:
    for number in range(50):
        (tmp_path / f"greenshift-20200101T0000{number:02}Z.dump").touch()
    (tmp_path / "mine.dump").touch()
    with Store(new_postgresql_url) as store:
        study = store.create_study(study_spec())
        record(store, study.study_id, 1)
        events = store.events(study.study_id)
        database = urlsplit(new_postgresql_url).path[1:]
        in_pod("plain", "backup", postgresql, tmp_path, database)
        record(store, study.study_id, 2)
    *old, newest = sorted(tmp_path.glob("greenshift-*"))
    assert len(old) == 47 and old[0].name == "greenshift-20200101T000003Z.dump"
    assert newest.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "mine.dump").exists()

    in_pod("restore", "restore", postgresql, tmp_path, database)
    with Store(new_postgresql_url) as store:
        assert store.events(study.study_id) == events
    (kept,) = postgresql.execute("SELECT datname FROM pg_database WHERE datname LIKE 'greenshift-before-%'")
    with Store(postgresql.url(kept[0])) as store:
        assert len(store.events(study.study_id)) > len(events)
    postgresql.execute(f'DROP DATABASE "{kept[0]}" WITH (FORCE)')


def test_a_restore_that_failed_can_be_repeated(postgresql: Server, new_postgresql_url: str, tmp_path: Path) -> None:
    database = urlsplit(new_postgresql_url).path[1:]
    with Store(new_postgresql_url) as store:
        study = store.create_study(study_spec())
        in_pod("plain", "backup", postgresql, tmp_path, database)
    broken = tmp_path / "greenshift-99990101T000000Z.dump"
    broken.touch()
    with pytest.raises(subprocess.CalledProcessError):
        in_pod("restore", "restore", postgresql, tmp_path, database)
    broken.unlink()
    in_pod("restore", "restore", postgresql, tmp_path, database)
    with Store(new_postgresql_url) as store:
        assert [found.study_id for found in store.studies()] == [study.study_id]
    (kept,) = postgresql.execute("SELECT datname FROM pg_database WHERE datname LIKE 'greenshift-before-%'")
    postgresql.execute(f'DROP DATABASE "{kept[0]}" WITH (FORCE)')


@pytest.mark.parametrize("where", ["kubernetes", "elsewhere"])
def test_copies_that_failed_or_were_killed_do_not_fill_the_folder(
    postgresql: Server, tmp_path: Path, where: str
) -> None:
    stale, going_on = (tmp_path / f"greenshift-2020010{day}T000000Z.dump.part" for day in (1, 2))
    for part in (stale, going_on):
        part.touch()
    os.utime(stale, (0, 0))
    with pytest.raises((subprocess.CalledProcessError, AssertionError), match=r"exit status|does not exist"):
        if where == "kubernetes":
            in_pod("plain", "backup", postgresql, tmp_path, "nowhere")
        else:
            path = f"{postgresql.programs}:{os.environ['PATH']}"
            backup(postgresql.url("nowhere"), tmp_path, PATH=path)
    assert list(tmp_path.iterdir()) == [going_on]


def test_compose_makes_a_copy_with_the_password_of_its_secret(
    postgresql: Server, new_postgresql_url: str, tmp_path: Path
) -> None:
    Store(new_postgresql_url).close()
    service = yaml.safe_load((BACKUP.parent / "compose" / "compose.yaml").read_text())["services"]["backup"]
    assert "../backup.sh:/backup.sh:ro" in service["volumes"]
    (tmp_path / "database_password").write_text("secret\n")
    # In place of an hour, the end.
    (tmp_path / "sleep").write_text(f'#!/bin/sh\necho "$PGPASSWORD" > {tmp_path}/password\nkill $PPID\n')
    (tmp_path / "sleep").chmod(0o755)
    *shell, script = service["entrypoint"]
    for here, there in (("$$", "$"), ("/run/secrets", str(tmp_path)), ("/backup.sh", str(BACKUP))):
        script = script.replace(here, there)
    script = script.replace(" /backups", f" {tmp_path}/copies")
    environment = os.environ | service["environment"] | {"GREENSHIFT_DATABASE_URL": new_postgresql_url}
    environment["PATH"] = f"{tmp_path}:{postgresql.programs}:{os.environ['PATH']}"
    assert subprocess.run([*shell, script], env=environment, timeout=240, check=False).returncode == -signal.SIGTERM
    (copy,) = (tmp_path / "copies").iterdir()
    assert copy.match(re.findall(r"-name '([^']+)'", service["healthcheck"]["test"][1])[0])
    assert (tmp_path / "password").read_text() == "secret\n"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:se%3Ac%5cret@db:5432/studies", "postgresql://me@db:5432/studies"),
        ("postgresql://me@/studies?host=/run&password=se%3Ac%5cret", "postgresql://me@/studies?host=/run&"),
        ("postgresql:///studies?password=se%3Ac%5cret&host=/run", "postgresql:///studies?host=/run"),
    ],
)
def test_no_program_is_started_with_the_password(tmp_path: Path, url: str, told: str) -> None:
    fakes = {
        "pg_dump": f'ps -wweo args > {tmp_path}/all; echo "$PGPASSWORD" > {tmp_path}/password; '
        'echo "$1" > $(dirname "$0")/told; for last; do :; done; touch "${last#--file=}"',
        "pg_restore": f"ps -wweo args >> {tmp_path}/all",
    }
    for name, shell in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{shell}\n")
        (tmp_path / name).chmod(0o755)
    backup(url, tmp_path / "copies", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (tmp_path / "password").read_text() == "se:c\\ret\n"
    assert (tmp_path / "told").read_text() == f"--dbname={told}\n"
    said = (tmp_path / "all").read_text()
    assert "pg_dump" in said and "pg_restore" in said
    assert "cret" not in said


def test_only_the_newest_copies_are_kept_and_nothing_else_is_touched(tmp_path: Path) -> None:
    path, folder = tmp_path / "studies.sqlite", tmp_path / "backups"
    Store(path).close()
    folder.mkdir()
    (folder / "mine.sqlite").touch()
    copies = [backup(f"sqlite:///{path}", folder, "2") for _ in range(4)]
    assert {file.name for file in folder.iterdir()} == {"mine.sqlite", *(copy.name for copy in copies[-2:])}
    assert oct(copies[-1].stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(("url", "said"), [("mysql://x", "must be sqlite"), ("sqlite:////nowhere/x", "is not there")])
def test_what_cannot_be_copied_is_said(tmp_path: Path, url: str, said: str) -> None:
    environment = os.environ | {"GREENSHIFT_DATABASE_URL": url}
    done = subprocess.run([str(BACKUP), str(tmp_path)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
