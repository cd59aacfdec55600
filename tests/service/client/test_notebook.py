"""A study of a service in a real notebook: a kernel of its own runs the cells and shows what they give."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from service.client import Client
from service.schema import Study
from service.store import Store
from tests.service.served import files, serving, store, study

__all__ = ["files", "store", "study"]


def test_a_handle_shows_itself_and_draws(store: Store, study: Study) -> None:
    with serving(store) as url, Client(url) as client:
        handle = client.study(study.study_id)
        shown = handle._repr_html_()
        assert shown is not None and "2 on the front" in shown and "<table>" in shown
        assert handle.plot_front()._repr_png_().startswith(b"\x89PNG")


def test_a_service_that_is_gone_is_no_traceback_in_a_notebook(store: Store, study: Study, free_port: int) -> None:
    with serving(store) as url, Client(url) as client:
        handle = client.study(study.study_id)
    handle._client = Client(f"http://127.0.0.1:{free_port}")
    assert handle._repr_html_() is None
    handle._client.close()


@pytest.mark.filterwarnings("ignore")
def test_cells_of_a_notebook_show_the_table_and_the_pictures(store: Store, study: Study, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    with serving(store) as url:
        cells = [
            f"from service.client import Client\nstudy = Client({url!r}).study({study.study_id!r})",
            "study",
            "study.plot_front()",
            "study.plot_hypervolume()",
            "study.plot_parallel_coordinates()",
        ]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbclient.NotebookClient(notebook, timeout=240, startup_timeout=240, kernel_name="python3").execute(
            cwd=str(tmp_path)
        )
    shown: list[dict[str, Any]] = [cell["outputs"][0]["data"] for cell in notebook.cells[1:]]
    assert "2 on the front" in shown[0]["text/html"]
    assert all(base64.b64decode(data["image/png"]).startswith(b"\x89PNG") for data in shown[1:])
