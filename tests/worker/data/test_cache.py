from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.worker.data.originals import write_class_folders
from worker import data
from worker.data import load_dataset
from worker.data.cache import Arrays, cache_folders, cached_arrays, fingerprint

ARRAYS: Arrays = {"images": np.arange(60, dtype=np.uint8).reshape(5, 3, 4), "labels": np.arange(5), "mean": np.zeros(0)}


class Builder:
    """Decodes at no cost, and counts."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self) -> Arrays:
        self.n_calls += 1
        return ARRAYS


def same(ours: Arrays, theirs: Arrays) -> bool:
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[key], theirs[key]) and ours[key].dtype == theirs[key].dtype for key in ours
    )


@pytest.fixture
def build():
    return Builder()


def test_arrays_are_built_once_and_mapped_ever_after(tmp_path, build):
    first, second = (cached_arrays([tmp_path], "key", build) for _ in range(2))

    assert build.n_calls == 1
    assert same(first, ARRAYS)
    assert same(second, ARRAYS)
    assert f"{tmp_path}/key/images.npy" in Path("/proc/self/maps").read_text()


def test_another_key_is_built_afresh(tmp_path, build):
    cached_arrays([tmp_path], "key", build)
    cached_arrays([tmp_path], "other", build)

    assert build.n_calls == 2


def test_what_one_process_writes_into_mapped_arrays_stays_with_it(tmp_path, build):
    cached_arrays([tmp_path], "key", build)["images"][:] = 0

    assert same(cached_arrays([tmp_path], "key", build), ARRAYS)
    assert build.n_calls == 1


def test_no_half_written_folder_and_no_lock_is_left(tmp_path, build):
    half = tmp_path / ".key.left"
    half.mkdir()
    (half / "images.npy").write_bytes(b"\x93NUMPY")

    cached_arrays([tmp_path], "key", build)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]
    with (tmp_path / "key.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "shapes.json"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed", "overwritten"])
def test_a_broken_cache_is_built_anew(tmp_path, build, name, damage):
    cached_arrays([tmp_path], "key", build)
    path = tmp_path / "key" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        path.write_bytes({"truncated": content[:-8], "emptied": b"", "overwritten": b"{x"}[damage])

    arrays = cached_arrays([tmp_path], "key", build)

    assert build.n_calls == 2
    assert same(arrays, ARRAYS)
    assert same(cached_arrays([tmp_path], "key", build), ARRAYS)
    assert build.n_calls == 2


def test_an_array_of_another_shape_is_built_anew(tmp_path, build):
    cached_arrays([tmp_path], "key", build)
    np.save(tmp_path / "key/labels.npy", np.arange(4))

    assert same(cached_arrays([tmp_path], "key", build), ARRAYS)


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path, build):
    (tmp_path / "file").write_text("in the way")

    cached_arrays([tmp_path / "file/cache", tmp_path / "second"], "key", build)

    assert (tmp_path / "second/key/images.npy").is_file()


def test_a_cache_that_lies_further_down_is_used(tmp_path, build):
    cached_arrays([tmp_path / "second"], "key", build)

    cached_arrays([tmp_path / "first", tmp_path / "second"], "key", build)

    assert build.n_calls == 1
    assert not (tmp_path / "first").exists()


def test_without_any_folder_the_arrays_stay_in_memory(tmp_path, build, caplog):
    (tmp_path / "file").write_text("in the way")

    assert cached_arrays([tmp_path / "file/cache"], "key", build) is ARRAYS
    assert "decoding for this process alone" in caplog.text


def test_on_a_full_disk_the_arrays_stay_in_memory(tmp_path, build, caplog, monkeypatch):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)

    assert cached_arrays([tmp_path], "key", build) is ARRAYS
    assert "No space left" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_where_no_file_can_be_locked_the_cache_still_works(tmp_path, build, caplog, monkeypatch):
    def fail(*_args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", fail)

    assert same(cached_arrays([tmp_path], "key", build), ARRAYS)
    assert "cannot be locked" in caplog.text


def test_a_lock_that_cannot_be_opened_stops_nobody(tmp_path, build, caplog):
    (tmp_path / "key.lock").mkdir()

    assert same(cached_arrays([tmp_path], "key", build), ARRAYS)
    assert "cannot be locked" in caplog.text


def test_an_error_of_the_decoder_is_its_own(tmp_path):
    def fail() -> Arrays:
        raise OSError("no such image")

    with pytest.raises(OSError, match="no such image"):
        cached_arrays([tmp_path], "key", fail)


# Where


def test_the_cache_lies_beside_the_data_or_with_the_user_or_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    elsewhere = [Path("/xdg/greenshift"), tmp_path / f"greenshift-cache-{os.getuid()}"]

    assert cache_folders(Path("/data")) == [Path("/data/.greenshift-cache"), *elsewhere]
    assert cache_folders(None) == elsewhere


def test_a_temporary_folder_that_belongs_to_somebody_else_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "greenshift-cache-4711").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 4711)

    assert tmp_path / "greenshift-cache-4711" not in cache_folders(None)


# The key


def test_a_key_follows_the_files_and_not_the_folder(tmp_path):
    files = [tmp_path / "one" / name for name in ("a", "b")]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("content")
        os.utime(file, ns=(0, 10))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    moved = [tmp_path / "two" / file.name for file in files]

    key = fingerprint("name", [1], files, tmp_path / "one")

    assert key == fingerprint("name", [1], files[::-1], tmp_path / "one")
    assert key == fingerprint("name", [1], moved, tmp_path / "two")
    assert key.startswith("name-")
    others = [fingerprint("name", [2], files, tmp_path / "one"), fingerprint("more", [1], files, tmp_path / "one")]
    others.append(fingerprint("name", [1], files[:1], tmp_path / "one"))
    os.utime(files[0], ns=(0, 11))
    others.append(fingerprint("name", [1], files, tmp_path / "one"))
    files[0].write_text("longer content")
    os.utime(files[0], ns=(0, 10))
    others.append(fingerprint("name", [1], files, tmp_path / "one"))
    assert len({key, *others}) == 6


def test_a_key_is_a_plain_name_of_a_folder():
    assert fingerprint("imagefolder:a b/../c@64", [], [], None).startswith("imagefolder_a_b_.._c@64-")


# Data sets


@pytest.fixture
def folder(tmp_path):
    write_class_folders(tmp_path / "mine/train", 30, 2)
    return tmp_path


def test_a_data_set_is_decoded_once_and_its_tensors_are_mapped(folder, monkeypatch):
    first = load_dataset("imagefolder:mine@8", str(folder))
    data._load.cache_clear()
    monkeypatch.setattr("worker.data.names.decode", None)

    second = load_dataset("imagefolder:mine@8", str(folder))

    assert first.train.images.tolist() == second.train.images.tolist()
    assert f"{folder}/.greenshift-cache" in Path("/proc/self/maps").read_text()


def test_a_changed_file_is_decoded_anew(folder):
    before = load_dataset("imagefolder:mine@8", str(folder))
    data._load.cache_clear()
    write_class_folders(folder / "mine/train", 10, 2, first=30)

    after = load_dataset("imagefolder:mine@8", str(folder))

    n_before, n_after = (sum(map(len, (d.train, d.validation, d.test))) for d in (before, after))
    assert (n_before, n_after) == (30, 40)


WORKER = """
import logging
import sys

from worker.data import load_dataset, names

logging.basicConfig(stream=sys.stdout, format="%(message)s")
logging.getLogger("worker.data.cache").setLevel("INFO")
decode = names.decode

def decode_when_told(listing, size):
    print("decoding", flush=True)
    sys.stdin.readline()
    return decode(listing, size)

names.decode = decode_when_told
print(int(load_dataset("imagefolder:mine", sys.argv[1]).train.images.long().sum()))
"""


@pytest.fixture
def two_workers(folder):
    command = [sys.executable, "-c", WORKER, str(folder)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    yield workers
    for worker in workers:
        worker.kill()
        worker.communicate()


def test_two_processes_that_start_at_once_decode_once(two_workers):
    said = sorted(worker.stdout.readline().partition(" ")[0].strip() for worker in two_workers)
    for worker in two_workers:
        worker.stdin.write("go on\n")
        worker.stdin.flush()
    sums = [worker.communicate(timeout=240)[0] for worker in two_workers]

    assert said == ["decoding", "waiting"]
    assert [worker.returncode for worker in two_workers] == [0, 0]
    assert sums[0] == sums[1] != ""
