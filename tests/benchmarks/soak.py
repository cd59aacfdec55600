"""A study on machines that come, go and are cut off: namespaces of this machine's network stand in for machines.

Needs root and `ip`. Scheduler, service and workers are the real ones, over TLS. At the end nothing may be lost (every
trial completed once, none failed) and nothing may leak (memory, open files, processes).
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from service.certificates import make_certificates
from service.client import Client
from service.schema import StudySpec, StudyState
from service.store import Store
from service.workers import n_cores
from tests.service.processes import DASK, GREENSHIFT, wait_until

_QUICK = Path(__file__).parents[1] / "service" / "quick.yaml"
_SUBNET = "10.213.77"
_BRIDGE = "gsoak"
# How often it says how far it is.
_TELL_SECONDS = 60.0
_LOOK_SECONDS = 5.0
# A machine is left alone, ended, killed or cut off: how often, and for how long it is cut off.
_ACT_SECONDS = (10.0, 25.0)
_CUT_SECONDS = (15.0, 40.0)
_MAX_GROWTH_BYTES, _MAX_GROWTH_FILES = 60 * 2**20, 15


def ip(*words: str, check: bool = True) -> None:
    """Runs `ip`."""
    subprocess.run(["ip", *words], check=check, capture_output=True)


@contextmanager
def network(n_machines: int) -> Iterator[list[str]]:
    """A bridge and so many namespaces on it; their names."""
    names = [f"{_BRIDGE}{i}" for i in range(n_machines)]
    _take_down(names)
    try:
        ip("link", "add", _BRIDGE, "type", "bridge")
        ip("addr", "add", f"{_SUBNET}.1/24", "dev", _BRIDGE)
        ip("link", "set", _BRIDGE, "up")
        for i, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}v", "master", _BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{_SUBNET}.{i + 10}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        _take_down(names)


def _take_down(names: list[str]) -> None:
    for name in names:
        ip("netns", "del", name, check=False)
    ip("link", "del", _BRIDGE, check=False)


@dataclass
class Machine:
    """A namespace in which `greenshift worker` runs, or not."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    cut_until: float | None = None
    pids: set[int] = field(default_factory=set)

    def start(self) -> None:
        """Starts its worker."""
        command = ["ip", "netns", "exec", self.name, *GREENSHIFT, "worker", f"tls://{_SUBNET}.1:8786"]
        command += ["--tls", str(self.folder / "tls"), "--name", self.name, "--cores-per-worker", str(n_cores())]
        command += ["--local-directory", str(self.folder / self.name)]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def end(self, number: signal.Signals) -> None:
        """Sends a signal, and waits for the end."""
        if self.process is not None:
            self.pids |= {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}
            self.process.send_signal(number)
            self.process.wait(timeout=30)
            self.process = None

    def cut(self, until: float) -> None:
        """Cuts it off the network."""
        ip("link", "set", f"{self.name}v", "down")
        self.cut_until = until

    def mend(self) -> None:
        """Lets it back."""
        ip("link", "set", f"{self.name}v", "up")
        self.cut_until = None


@dataclass
class Watched:
    """Memory and open files of a process over time."""

    name: str
    pid: int
    sizes: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Takes notice of it."""
        process = psutil.Process(self.pid)
        self.sizes.append(process.memory_info().rss)
        self.files.append(process.num_fds())

    def grown(self) -> tuple[float, float]:
        """By how many bytes and files it has grown from the second fifth of the time to the last."""
        n = max(1, len(self.sizes) // 5)
        growth = [statistics.median(each[-n:]) - statistics.median(each[n : 2 * n] or each) for each in
                  (self.sizes, self.files)]  # fmt: skip
        return growth[0], growth[1]


@contextmanager
def process(folder: Path, name: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the time of a `with` block."""
    with (folder / f"{name}.log").open("ab") as log:
        running = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=60)


def soak(folder: Path, seconds: float, n_machines: int, chance: random.Random) -> list[str]:
    """Runs it; what was found wrong."""
    make_certificates(folder / "tls")
    tls = folder / "tls"
    options = ["--tls-ca-file", str(tls / "ca.pem"), "--tls-cert", str(tls / "scheduler.pem")]
    options += ["--tls-key", str(tls / "scheduler.key"), "--host", f"{_SUBNET}.1", "--port", "8786"]
    spec = StudySpec.load(str(_QUICK)).model_dump(mode="json", exclude_none=True)
    spec |= {"optimizer": "random", "budget": {"wall_seconds": seconds}, "max_lost_workers": 1000}
    with ExitStack() as stack:
        machines = [Machine(name, folder) for name in stack.enter_context(network(n_machines))]
        scheduler = stack.enter_context(
            process(folder, "scheduler", *DASK, "scheduler", "--dashboard-address", "127.0.0.1:0", *options)
        )
        serve = [*GREENSHIFT, "serve", "--port", "0", "--scheduler", f"tls://{_SUBNET}.1:8786", "--tls", str(tls)]
        service = stack.enter_context(process(folder, "serve", *serve, "--out", str(folder / "out")))
        url = _url(folder / "serve.log")
        watched = [Watched("scheduler", scheduler.pid), Watched("service", service.pid)]
        for machine in machines:
            machine.start()
        try:
            with Client(url) as client:
                study = client.submit(spec)
                acts = _disturb(machines, watched, seconds, chance, lambda: study.state is not StudyState.RUNNING)
                state = study.wait(timeout=180)
        finally:
            for machine in machines:
                machine.mend()
                machine.end(signal.SIGTERM)
    sys.stdout.write(f"acts: {dict(acts)}\n")
    wrong = _lost(folder, study.study_id, state) + [each for w in watched for each in _leaks(w)]
    left = [pid for machine in machines for pid in machine.pids if psutil.pid_exists(pid) and _is_alive(pid)]
    return wrong + ([f"{len(left)} processes of workers are left"] if left else [])


def _url(log: Path) -> str:
    wait_until(lambda: log.exists() and re.search(r"Serving at (\S+);", log.read_text()))
    return re.findall(r"Serving at (\S+);", log.read_text())[0]


def _disturb(machines, watched, seconds, chance, is_over) -> Counter[str]:  # type: ignore[no-untyped-def]
    """Ends, kills, starts and cuts off machines until the time is over, never all at once; what was done."""
    acts: Counter[str] = Counter()
    end, due = time.monotonic() + seconds, time.monotonic() + 30
    begun, told = False, time.monotonic()
    while time.monotonic() < end and not (begun and is_over()):
        begun = begun or not is_over()
        time.sleep(_LOOK_SECONDS)
        for each in watched:
            each.look()
        for machine in machines:
            if machine.cut_until is not None and time.monotonic() >= machine.cut_until:
                machine.mend()
        if time.monotonic() >= due:
            due = time.monotonic() + chance.uniform(*_ACT_SECONDS)
            acts[_act(machines, chance)] += 1
        if time.monotonic() >= told + _TELL_SECONDS:
            told = time.monotonic()
            sys.stdout.write(f"{(end - told) / 60:.0f} minutes to go; so far {dict(acts)}\n")
            sys.stdout.flush()
    return acts


def _act(machines: list[Machine], chance: random.Random) -> str:
    machine = chance.choice(machines)
    if machine.process is None:
        machine.start()
        return "started"
    well = [m for m in machines if m.process is not None and m.cut_until is None]
    if len(well) <= 1 or machine.cut_until is not None:
        return "left alone"
    what = chance.choice(["ended", "killed", "cut off"])
    if what == "cut off":
        machine.cut(time.monotonic() + chance.uniform(*_CUT_SECONDS))
    else:
        machine.end(signal.SIGTERM if what == "ended" else signal.SIGKILL)
    return what


def _lost(folder: Path, study_id: str, state: StudyState) -> list[str]:
    """What of the study is not as it must be."""
    with Store(folder / "out" / "studies.sqlite") as store:
        trials, events = store.trials(study_id), store.events(study_id)
    states = Counter(str(trial.state) for trial in trials)
    finished = Counter(e.trial_id for e in events if e.payload.get("state") == "COMPLETED")
    lost = sum(e.payload.get("result", {}).get("failure") is not None for e in events if e.kind == "attempt_finished")
    sys.stdout.write(f"study {state}; trials {dict(states)}; {lost} attempts lost or late and made again\n")
    wrong = [] if state == StudyState.COMPLETED else [f"the study is {state}"]
    wrong += [f"{n} trials are {name}" for name, n in states.items() if name not in ("COMPLETED", "WAITING")]
    wrong += [f"trial {name} completed {n} times" for name, n in finished.items() if n > 1 and name is not None]
    return wrong + ([] if states["COMPLETED"] > 5 else ["hardly any trial completed"])


def _leaks(watched: Watched) -> list[str]:
    n_bytes, n_files = watched.grown()
    sys.stdout.write(
        f"{watched.name}: {watched.sizes[-1] / 2**20:.0f} MB ({n_bytes / 2**20:+.0f} MB), "
        f"{watched.files[-1]} open files ({n_files:+.0f})\n"
    )
    wrong = [f"{watched.name} grew by {n_bytes / 2**20:.0f} MB"] if n_bytes > _MAX_GROWTH_BYTES else []
    return wrong + ([f"{watched.name} holds {n_files:.0f} more files"] if n_files > _MAX_GROWTH_FILES else [])


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    """Says what was found; exit code 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("NOT RUN: namespaces of the network need root")
    folder = Path(tempfile.mkdtemp(prefix="greenshift-soak-"))
    wrong = soak(folder, 60 * arguments.minutes, arguments.machines, random.Random(arguments.seed))
    sys.stdout.write("\n".join(wrong or ["nothing lost, nothing leaked"]) + f"\nlogs: {folder}\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
