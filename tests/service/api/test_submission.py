from __future__ import annotations

import json
from typing import Any

import pytest
from ConfigSpace import ConfigurationSpace, Float
from fastapi.testclient import TestClient
from pydantic import TypeAdapter, ValidationError

from service.api.submission import Submission
from service.faults import describe
from service.schema import StudySpec
from service.store import Store
from tests.service.fakes import study_document


def refusal(document: dict[str, Any]) -> str | None:
    """What is said against a study; None where it is taken."""
    try:
        TypeAdapter(Submission).validate_python(document)
    except ValidationError as error:
        return describe(error.errors(), StudySpec)
    return None


def sent(http: TestClient, document: dict[str, Any]) -> tuple[int, str | None]:
    """The same over HTTP, as ASCII, so that anything can be sent."""
    headers = {"Content-Type": "application/json"}
    answer = http.post("/api/v1/studies", content=json.dumps(document), headers=headers)
    return answer.status_code, answer.json().get("detail")


@pytest.mark.parametrize("key", ["data_dir", "weights"])
@pytest.mark.parametrize("place", ["/data", "relative", "s3://bucket/x", "../.."])
def test_no_place_on_a_worker_can_be_named(key: str, place: str) -> None:
    said = refusal(study_document(**{key: place}))
    assert said == f"{key}: must be left out over HTTP, because it names a place on the workers; got {place!r}"
    assert refusal(study_document(**{key: None})) is None


@pytest.mark.parametrize(
    "place", ["../run", "/runs/digits", "runs/digits", "front.csv", ".", "", "s3://a/b", "id\n", 3]
)
def test_a_study_begins_with_another_of_the_service_and_with_no_file(place: object) -> None:
    said = refusal(study_document(warm_start=place))
    assert said == f"warm_start: must be the id of a study over HTTP, and neither its name nor a path; got {place!r}"
    assert refusal(study_document(warm_start=None)) is None
    assert refusal(study_document(warm_start="0123456789ab")) is None


@pytest.mark.parametrize("key", ["dataset", "network"])
@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "imagefolder:../x",
        "imagefolder:/etc",
        "imagefolder:a/b",
        "a\\b",
        "os.path:join",
        "os.path",
        "..",
        "",
        " x",
    ],
)
def test_no_path_and_no_module_passes_for_a_name(key: str, name: str) -> None:
    said = refusal(study_document(**{key: name}))
    assert said == f"{key}: must be a plain name over HTTP, without path or module; got {name!r}"


@pytest.mark.parametrize(
    "name", ["digits", "cifar10", "imagefolder:my photos@64", "mnist@16", "vgg16-small", "imagefolder:v1.2"]
)
def test_plain_names_are_taken(name: str) -> None:
    assert refusal(study_document(dataset=name)) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fixed": {"momentum": float("nan")}}, "fixed.momentum: must be a finite number, got nan"),
        ({"initial_configs": [{"x": float("inf")}]}, "initial_configs.x: must be a finite number, got inf"),
        ({"space": {"name": "\ud800"}}, "space.name: must be text in Unicode, got '\\ud800'"),
        ({"space": {"\udfff": 1}}, "space: keys must be text in Unicode, got '\\udfff'"),
        ({"space": {"a": "\0"}}, "space.a: must be text in Unicode, got '\\x00'"),
        ({"\ud800": 1}, "study: keys must be text in Unicode, got '\\ud800'"),
    ],
)
def test_what_no_database_could_give_back_is_refused(http: TestClient, changes: dict[str, Any], said: str) -> None:
    assert sent(http, study_document(**changes)) == (422, said)


def test_trees_are_taken_as_deep_as_they_can_be_read_again(http: TestClient, store: Store) -> None:
    def tree(depth: int) -> dict[str, Any]:
        return {} if depth == 1 else {"x": tree(depth - 1)}

    space = ConfigurationSpace(space=[Float("learning_rate", (1e-3, 1e-1))]).to_serialized_dict()
    assert sent(http, study_document(space=space | tree(33))) == (
        422,
        "space: must be nested at most 32 levels deep",
    )
    assert sent(http, study_document(space=space | tree(32))) == (201, None)
    assert store.studies()[0].spec.space == space | tree(32)
