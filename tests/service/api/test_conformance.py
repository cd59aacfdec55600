"""Requests as the documentation allows and forbids them: every answer is one that it knows."""

from __future__ import annotations

import time

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from service.api import create_app
from service.schema import Study
from service.store import Store, Tokens
from tests.service.fakes import study_document
from tests.service.served import recorded

# What a schema cannot say is refused as well: a study whose parts do not fit together.
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
_TRIALS = ("00001", "00004", "00005", "00099")


def test_every_route_says_what_it_does_and_how_it_may_fail(store: Store) -> None:
    document = create_app(store, require_token=True).openapi()
    operations = {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) == 29
    for (method, path), operation in operations.items():
        assert operation["summary"] and operation["description"].endswith("."), (method, path)
        failures = {status for status in operation["responses"] if not status.startswith("2")}
        if path not in ("/healthz", "/readyz"):
            assert failures >= {"401", "403", "429", "503"}, (method, path)
            assert operation["security"] == [{"token": []}]
        for status in failures:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}, (method, path, status)


def test_a_few_requests_get_answers_that_are_documented(store: Store) -> None:
    fuzz(store, n_examples=1, is_random=False)


@pytest.mark.slow
def test_many_requests_get_answers_that_are_documented(store: Store) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        fuzz(store, n_examples=25, is_random=True)


def fuzz(store: Store, *, n_examples: int, is_random: bool) -> None:
    """Sends requests to every route, half of them about a study that is there, and counts what was submitted."""
    study = recorded(store)
    n_before = len(store.studies())
    submitted: list[str] = []
    app = create_app(store, require_token=True, requests_per_second=None)
    secret = Tokens(store).create_token(f"test {n_before}")
    # Without what it says of tokens, so that no token is left out on purpose.
    document = app.openapi()
    document["components"].pop("securitySchemes")
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    schema = schemathesis.openapi.from_dict(document)
    schema.app = app
    for found in schema.get_all_operations():
        operation = found.ok()
        has_input = operation.body or any(operation.iter_parameters())
        for mode in (GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if has_input else [])):

            @settings(
                max_examples=n_examples,
                derandomize=not is_random,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
            def send(case: Case, data: st.DataObject) -> None:
                if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
                    _point(case, data, study)
                response = case.call_and_validate(headers={"Authorization": f"Bearer {secret}"}, checks=_CHECKS)
                if response.status_code == 201:
                    submitted.append(response.json()["study_id"])

            send()
    kept = {study.study_id for study in store.studies()}
    assert submitted or n_examples == 1
    assert len(kept) == n_before + len(set(submitted)) and kept.issuperset(submitted)


def _point(case: Case, data: st.DataObject, study: Study) -> None:
    """Mostly at a study and trials that are there, or with the better part of a study that can be.

    Streams of events end with what is there.
    """
    if case.path.endswith("/events"):
        case.query["follow"] = "false"
    if data.draw(st.integers(0, 3)):
        if isinstance(case.body, dict):
            few = sorted(case.body)[: data.draw(st.integers(0, 2))]
            case.body = study_document() | {key: case.body[key] for key in few}
        for name, values in (("study_id", [study.study_id]), ("trial_id", _TRIALS)):
            if name in case.path_parameters:
                case.path_parameters[name] = data.draw(st.sampled_from(values))
