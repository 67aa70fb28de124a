"""Style sheets, scripts and templates. They are files in ``assets`` beside the module that uses
them.
"""

from __future__ import annotations

from pathlib import Path


def read_asset(module: str, name: str) -> str:
    """Returns the text of an asset.

    ``module`` is the ``__file__`` of the module that uses it.
    """
    return (Path(module).parent / "assets" / name).read_text(encoding="utf-8")
