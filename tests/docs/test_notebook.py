"""docs/howto/notebook.ipynb runs from its first cell to its last, in a folder of its own."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "howto" / "notebook.ipynb"


@pytest.mark.slow  # as the pages beside it
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[2]))  # this tree's code, not another's
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()

    assert (tmp_path / "runs" / "notebook" / "checkpoints").is_dir()
    assert (tmp_path / "runs" / "notebook-report" / "report.html").is_file()
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells

    assert all(not cell.outputs for cell in cells if cell.cell_type == "code")
