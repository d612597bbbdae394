"""The notebook's cells run, in their order, in a kernel of their own, and draw."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from aoray.testing.local_computer import LocalComputer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NOTEBOOK = Path(__file__).parents[2] / "examples" / "throughput.ipynb"


def test_the_notebook_runs_and_draws(
    computer: LocalComputer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"AORAY_URL": computer.url, "AORAY_WALLET": str(tmp_path / "wallet.json")}
    for name, value in (variables | {"PROCESSES": "12", "MESSAGES": "3"}).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is committed without its outputs"
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.get("text", "") for output in outputs)
    assert "12 processes" in said and "36 messages" in said
    assert any("image/png" in output.get("data", {}) for output in outputs)
