from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from service.cli.export_folder import MANIFEST, ExportFolder
from service.errors import InputError


def export(out: Path, *files: str, kind: str = "models", force: bool = False) -> None:
    with ExportFolder(out, force=force).writing(kind) as stage:
        for file in files:
            (stage / file).parent.mkdir(parents=True, exist_ok=True)
            (stage / file).write_text(f"{kind} wrote this")


def there(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} - {MANIFEST}


def test_an_earlier_export_is_replaced_and_what_is_no_more_goes_with_its_folder(tmp_path: Path) -> None:
    export(tmp_path / "out", "README.md", "00001/model.h", "00002/model.h")
    export(tmp_path / "out", "README.md", "00002/model.h", "00003/model.h")
    assert there(tmp_path / "out") == {"README.md", "00002/model.h", "00003/model.h"}
    assert not (tmp_path / "out" / "00001").exists()


def test_files_of_the_user_stay_also_beside_those_that_go(tmp_path: Path) -> None:
    export(tmp_path, "00001/model.h", "README.md")
    (tmp_path / "00001" / "notes.txt").write_text("mine")
    (tmp_path / "mine.txt").write_text("mine")
    export(tmp_path, "README.md")
    assert there(tmp_path) == {"README.md", "00001/notes.txt", "mine.txt"}


def test_a_folder_with_files_of_the_user_alone_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(InputError, match=r"^out: \S+ holds files that are not of an earlier export; name another"):
        export(tmp_path, "README.md")
    assert (tmp_path / "README.md").read_text() == "mine"
    export(tmp_path, "README.md", force=True)
    assert (tmp_path / "README.md").read_text() == "models wrote this"


def test_a_file_of_the_user_is_not_replaced_by_an_export_of_another_kind(tmp_path: Path) -> None:
    export(tmp_path, "README.md")
    (tmp_path / "trials.csv").write_text("mine")
    before = (tmp_path / MANIFEST).read_text()
    with pytest.raises(InputError, match=r"trials.csv is there and not of an earlier export"):
        export(tmp_path, "trials.csv", "front.csv", kind="csv")
    assert there(tmp_path) == {"README.md", "trials.csv"}
    assert ((tmp_path / "trials.csv").read_text(), (tmp_path / MANIFEST).read_text()) == ("mine", before)


def test_exports_of_several_kinds_share_a_folder_and_a_file(tmp_path: Path) -> None:
    export(tmp_path, "study.yaml", "00001/model.h")
    export(tmp_path, "study.yaml", "trials.csv", kind="csv")
    export(tmp_path, "00002/model.h")
    assert there(tmp_path) == {"study.yaml", "trials.csv", "00002/model.h"}
    export(tmp_path, kind="csv")
    assert there(tmp_path) == {"00002/model.h"}


def test_where_nothing_came_of_it_everything_is_as_before(tmp_path: Path) -> None:
    for out in (tmp_path / "new", tmp_path / "old"):
        if out.name == "old":
            export(out, "README.md")
        with pytest.raises(KeyError), ExportFolder(out).writing("models") as stage:
            (stage / "model.h").write_text("half")
            raise KeyError
    assert not (tmp_path / "new").exists()
    assert there(tmp_path / "old") == {"README.md"}


def test_what_a_killed_export_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".greenshift-export-abc").mkdir()
    export(tmp_path, "README.md")
    assert there(tmp_path) == {"README.md"}


@pytest.mark.parametrize("listed", ["../mine", "link/mine", ".."])
def test_nothing_outside_of_the_folder_is_removed_whatever_the_list_says(tmp_path: Path, listed: str) -> None:
    (tmp_path / "mine").write_text("mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    (tmp_path / "out" / MANIFEST).write_text(
        json.dumps({"greenshift_export": 1, "files": {"models": {listed: [digest]}}})
    )
    export(tmp_path / "out", "README.md")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"greenshift_export": 2, "files": {}}'])
def test_a_list_that_is_none_of_ours_is_a_file_of_the_user(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError, match="not of an earlier export"):
        export(tmp_path, "README.md")


def test_a_file_in_the_place_of_the_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is no folder that can be written"):
        export(tmp_path / "out", "README.md")


def test_what_the_user_changed_since_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    export(tmp_path, "README.md", "00001/card.md")
    (tmp_path / "00001" / "card.md").write_text("with my notes")
    with pytest.raises(InputError, match=r"00001/card.md is there and not of an earlier export, or was changed since"):
        export(tmp_path, "README.md", "00001/card.md")
    export(tmp_path, "README.md")
    assert (tmp_path / "00001" / "card.md").read_text() == "with my notes"
    export(tmp_path, "README.md", "00001/card.md", force=True)
    assert (tmp_path / "00001" / "card.md").read_text() == "models wrote this"


def test_a_file_where_a_folder_belongs_is_found_before_anything_changes(tmp_path: Path) -> None:
    export(tmp_path, "00001/model.h", "README.md")
    (tmp_path / "00003").write_text("mine")
    with pytest.raises(InputError, match=r"00003 is there and not of an earlier export"):
        export(tmp_path, "00002/model.h", "00003/model.h")
    assert there(tmp_path) == {"00001/model.h", "README.md", "00003"}
    export(tmp_path, "00002/model.h", "00003/model.h", force=True)
    assert there(tmp_path) == {"00002/model.h", "00003/model.h"}


def test_a_folder_where_a_file_belongs_is_never_removed(tmp_path: Path) -> None:
    export(tmp_path, "README.md")
    (tmp_path / "front.csv").mkdir()
    with pytest.raises(InputError, match=r"front.csv is a folder, where a file of the export belongs"):
        export(tmp_path, "front.csv", force=True)
    assert there(tmp_path) == {"README.md"}


def test_an_export_that_was_broken_off_is_known_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(tmp_path, "a", "b")
    replace = Path.replace

    def breaks(self: Path, target: Path) -> Path:
        if target.name == "b":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", breaks)
        with ExportFolder(tmp_path).writing("models") as stage:
            (stage / "a").write_text("new")
            (stage / "b").write_text("new")
    export(tmp_path, "b")
    assert there(tmp_path) == {"b"}


def test_what_cannot_be_read_is_named_and_not_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"^\S+weights: No such file"),
        ExportFolder(tmp_path / "out").writing("models"),
    ):
        (tmp_path / "weights").read_bytes()


def test_old_leftovers_of_a_killed_export_go(tmp_path: Path) -> None:
    for name, age in (("old", 100_000), ("new", 0)):
        (tmp_path / f".greenshift-export-{name}").mkdir()
        os.utime(tmp_path / f".greenshift-export-{name}", (time.time() - age,) * 2)
    export(tmp_path, "README.md")
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "README.md", ".greenshift-export-new"}
