"""Dask clusters within this process, for tests of what only a real scheduler does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, LocalCluster

from service.fleet import identity_of


@contextmanager
def threads(n_workers: int, **options: Any) -> Iterator[LocalCluster]:
    """Workers that are threads, each with one slot for trials; `options` are LocalCluster's."""
    settings = {"resources": {"CPU_SLOT": 1}, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"} | options
    with LocalCluster(n_workers=n_workers, processes=False, **settings) as cluster:
        yield cluster


@contextmanager
def client_of_threads(n_workers: int, **options: Any) -> Iterator[Client]:
    """A client of such workers; its `cluster` are they."""
    with threads(n_workers, **options) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def workers_of(client: Client) -> dict[str, dict[str, Any]]:
    """What the scheduler knows of its workers, by address; none while it does not answer.

    Not what the client remembers: Dask overwrites that every two seconds, without the workers.
    """
    workers: dict[str, dict[str, Any]] = identity_of(client).get("workers", {})
    return workers
