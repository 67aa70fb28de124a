"""Style sheets, scripts and templates: files in ``assets`` beside the module they serve."""

from __future__ import annotations

from pathlib import Path


def read_asset(module: str, name: str) -> str:
    """The text of an asset.

    ``module`` is the ``__file__`` of whom it serves.
    """
    return (Path(module).parent / "assets" / name).read_text(encoding="utf-8")
