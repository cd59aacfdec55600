from __future__ import annotations

from pathlib import Path

from service.settings import Settings, database_of


def test_every_setting_comes_from_a_variable_of_its_name() -> None:
    environment = {
        "GREENSHIFT_URL": "http://here:1",
        "GREENSHIFT_TOKEN": "gs_1",
        "GREENSHIFT_DATA_DIR": "/data",
        "GREENSHIFT_CHECKPOINT_URL": "s3://bucket",
        "GREENSHIFT_DATABASE_URL": "postgresql://u@h/n",
        "GREENSHIFT_COLOUR": "red",
    }
    assert Settings.from_environment(environment) == Settings(
        url="http://here:1", token="gs_1", data_dir="/data", checkpoint_url="s3://bucket",
        database_url="postgresql://u@h/n",
    )  # fmt: skip


def test_an_empty_variable_is_none() -> None:
    assert Settings.from_environment({"GREENSHIFT_URL": ""}) == Settings()


def test_the_database_of_a_folder_lies_in_it_wherever_the_program_is_later(tmp_path: Path) -> None:
    assert database_of(tmp_path) == f"sqlite:///{tmp_path}/studies.sqlite"
