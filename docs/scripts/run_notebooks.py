"""Executes the tutorials and stores them, with their outputs, as notebooks.

    python docs/scripts/run_notebooks.py [NAME...]

The source of docs/tutorials/NAME.ipynb is NAME.py (jupytext's percent format). The notebook keeps a
digest of its source, so that a test can tell when it has to be executed again.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parents[1] / "tutorials"
TIMEOUT = 900
"""Seconds for a cell, at most."""


def main(names: list[str]) -> None:
    """Executes the tutorials of these names, or all, with the hcache of this checkout."""
    os.environ["PYTHONPATH"] = str(TUTORIALS.parents[1])
    for path in sorted(TUTORIALS.glob("*.py")):
        if not names or path.stem in names:
            notebook = executed(path)
            nbformat.write(notebook, path.with_suffix(".ipynb"))
            print(path.with_suffix(".ipynb"), flush=True)


def executed(path: Path) -> nbformat.NotebookNode:
    """A tutorial's notebook with the outputs of its cells, without bars and machine details."""
    source = path.read_bytes()
    notebook = jupytext.reads(source.decode(), fmt="py:percent")
    NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3").execute(cwd=str(path.parent))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            outputs = (each for each in cell.outputs if each.get("name") != "stderr")
            cell.execution_count = None
            cell.outputs = [_stored(each) for each in outputs]
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "source_sha256": hashlib.sha256(source).hexdigest(),
        }
    )
    return notebook


def _stored(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output in its best form only, and without the name of the temporary folder."""
    kinds = output.get("data", {})
    for kind in ("image/svg+xml", "image/png"):
        if kind in kinds:
            output.data = {kind: kinds[kind]}
            break
    if output.output_type == "execute_result":
        output.execution_count = None
    if "text" in output:
        output.text = re.sub(r"/\S*/tmp\w{8}\b", "/tmp/work", output.text)
    return output


if __name__ == "__main__":
    main(sys.argv[1:])
