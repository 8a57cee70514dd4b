"""docs/howto/notebook.ipynb runs from its first cell to its last, outside of the checkout."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "howto" / "notebook.ipynb"


@pytest.mark.slow  # as the pages beside it
def test_the_notebook_runs_from_an_installed_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, installed, work = (tmp_path / name for name in ("wheels", "installed", "work"))
    work.mkdir()
    build = ["--no-deps", "--no-build-isolation", "--wheel-dir", wheels]  # needs no network
    subprocess.run([*pip, "wheel", *build, ROOT], check=True)
    target = ["--no-deps", "--target", installed]
    subprocess.run([*pip, "install", *target, *wheels.glob("*.whl")], check=True)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(work)
    where = [sys.executable, "-c", "import relic_rl; print(relic_rl.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True).stdout

    assert found.startswith(str(installed))
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": work}}).execute()

    assert (work / "runs" / "notebook" / "checkpoints").is_dir()
    assert (work / "runs" / "notebook-report" / "report.html").is_file()
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
