"""Exports a run for other tools: as a table, or for TensorBoard's projector."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import making_folder, replacing_path
from ..errors import UsageError
from .layout import SEED
from .reading import Run

if TYPE_CHECKING:
    import pandas as pd  # slow to import, and no other command needs it

CSV, PARQUET, PROJECTOR = "csv", "parquet", "projector"
FORMATS = (CSV, PARQUET, PROJECTOR)


def export_run(run: Run, out: Path, form: str, site: str = "h", step: int | None = None) -> Path:
    """Writes a table of labels and of the means of a site.

    The table has one row per sample, with the mean over space at one step. For the projector, a
    folder is written.

    Args:
        run: A run that stores the site, in full or pooled.
        out: The file, or the folder for ``projector``. It must not exist.
        form: One of ``FORMATS``.
        site: ``h``, ``skip.2``, ...
        step: Default: the middle step.

    Raises:
        UsageError: an unknown format or step, or ``out`` exists.
        OSError: it cannot be written. Then ``out`` does not exist.
    """
    if form not in FORMATS:
        raise UsageError(f"format must be one of {', '.join(FORMATS)}, got {form!r}")
    if os.path.lexists(out):
        raise UsageError(f"{out} exists; choose another name")
    step = run.spec.steps // 2 if step is None else step
    vectors, labels = run.pooled(site, step), label_table(run)
    if form == PROJECTOR:
        return _write_projector(out, vectors, labels, f"{run.name} {site} step {step}")
    import pandas as pd

    names = [f"{site}[{i}]" for i in range(vectors.shape[1])]
    table = pd.concat([labels, pd.DataFrame(vectors, columns=names)], axis=1)
    with replacing_path(out) as partial:
        (
            table.to_csv(partial, index=False)
            if form == CSV
            else table.to_parquet(partial, index=False)
        )
    return out


def label_table(run: Run) -> pd.DataFrame:
    """Returns sample, seed and every label, one row per sample.

    If there are several sets, labels are named ``set.name``.
    """
    import pandas as pd

    columns = {"sample": run.sample_ids, SEED: [run.seed(int(sample)) for sample in run.sample_ids]}
    sets = run.labels
    for set_name, labels in sets.items():
        columns |= {
            name if len(sets) == 1 else f"{set_name}.{name}": values
            for name, values in labels.items()
        }
    return pd.DataFrame(columns)


def _write_projector(out: Path, vectors: np.ndarray, labels: pd.DataFrame, title: str) -> Path:
    """Writes ``tensors.tsv``, ``metadata.tsv`` and the configuration that names them. Either all
    three are written or none.
    """
    tensor = {
        "tensorName": title,
        "tensorShape": list(vectors.shape),
        "tensorPath": "tensors.tsv",
        "metadataPath": "metadata.tsv",
    }
    with making_folder(out) as partial:
        np.savetxt(partial / "tensors.tsv", vectors, delimiter="\t", fmt="%.6g")
        labels.to_csv(partial / "metadata.tsv", sep="\t", index=False)
        (partial / "projector_config.json").write_text(
            json.dumps({"embeddings": [tensor]}, indent=1)
        )
    return out
