from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.cli.new_file import write_new
from service.cli.results import write_results
from service.errors import InputError, RefusedError, ServiceError
from service.study_run import StudyRun
from tests.service.cli.commands import Call, Done
from tests.service.report.test_files import TRIALS, study


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """The disk takes no more of a file than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("force", [False, True])
def test_half_a_file_is_not_left(tmp_path: Path, force: bool) -> None:
    out = tmp_path / "report.html"
    with (
        files_of_at_most(100),
        pytest.raises(InputError, match=f"^out: {out} is no file that can be written: File too"),
    ):
        write_new(out, b"x" * 1000, force=force)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_by_force_alone(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("mine")
    with pytest.raises(RefusedError, match="is there already"):
        write_new(out, b"theirs", force=False)
    assert out.read_text() == "mine"
    write_new(out, b"theirs", force=True)
    assert out.read_text() == "theirs"


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("mine")
    with files_of_at_most(100), pytest.raises(InputError, match="File too large"):
        write_new(out, b"x" * 1000, force=True)
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


def test_what_replaces_a_file_keeps_its_mode_and_the_link_to_it(tmp_path: Path) -> None:
    out, link = tmp_path / "report.html", tmp_path / "newest.html"
    out.touch(mode=0o600)
    link.symlink_to(out)
    write_new(link, b"theirs", force=True)
    assert link.is_symlink() and out.read_text() == "theirs"
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_device_that_takes_nothing_is_left_alone() -> None:
    with pytest.raises(InputError, match="No space left on device"):
        write_new(Path("/dev/full"), b"x", force=True)
    assert Path("/dev/full").exists()


def test_a_full_disk_at_the_end_of_a_run_is_one_line_that_says_what_is_kept(tmp_path: Path) -> None:
    with files_of_at_most(100), pytest.raises(ServiceError) as caught:
        write_results(tmp_path, StudyRun(study(), TRIALS))
    assert str(caught.value).startswith(
        f"out: not all files of {tmp_path} could be written (File too large); every fin"
    )
    write_results(tmp_path, StudyRun(study(), TRIALS))
    assert (tmp_path / "report.html").is_file()


def test_whatever_the_system_refuses_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> list[str]:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("service.cli.presets.preset_names", refuse)
    assert call("presets") == Done(5, "", "error: somewhere: No space left on device\n")
