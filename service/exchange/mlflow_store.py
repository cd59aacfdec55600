"""A tracking store of MLflow, reached without its long patience, and its errors as ours."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from service.errors import InputError, ServiceError, UnreachableError

# MLflow itself tries for minutes what does not answer. What the user says in the environment counts.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
_FIRST_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@contextmanager
def tracking_store(uri: str) -> Iterator[MlflowClient]:
    """A client of the store, of which it is known that it answers.

    Args:
        uri: of the store, such as `http://127.0.0.1:5000` or `sqlite:///FILE`.

    Raises:
        UnreachableError: no server answers there.
        InputError: no tracking store is there.
    """
    with _quietly():
        try:
            client = MlflowClient(tracking_uri=uri)
            with _environment(_FIRST_PATIENCE):
                client.search_experiments(max_results=1)
            with _environment({name: value for name, value in _PATIENCE.items() if name not in os.environ}):
                yield client
        except MlflowException as error:
            raise _as_ours(uri, error) from error


def _as_ours(uri: str, error: MlflowException) -> ServiceError:
    cause = error.__cause__ or error.__context__
    text = " ".join(str(error).split())
    # Errors of requests are OSErrors; a URL that is none is a ValueError as well.
    if isinstance(cause, OSError) and not isinstance(cause, ValueError):
        named = re.findall(r"\[Errno -?\d+\] ([\w ]+)|(timed out)", text)
        reason = "".join(named[-1]) if named else type(cause).__name__
        return UnreachableError(f"no tracking server answers at {uri} ({reason})")
    return InputError(f"out: {uri} is no tracking store of MLflow that can be written: {text[:200]}")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """MLflow reads its settings there at every request."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quietly() -> Iterator[None]:
    """MLflow tells of the tables that it makes, and is warned of by what it uses."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
