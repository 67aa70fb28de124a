"""Finds the dashboard's script: in a checkout beside the package, in an installed package inside
it.

Streamlit finds pages only as files in ``pages/`` beside the script that it runs, and a theme only
in ``.streamlit/`` there. The wheel therefore contains copies of the three in ``hcache/app`` (see
``pyproject.toml``). A checkout has no copies.
"""

from __future__ import annotations

from pathlib import Path

from .errors import UsageError

SCRIPT = "dashboard.py"


def dashboard_script() -> Path:
    """Returns the script for ``streamlit run``.

    Raises:
        UsageError: the script is in neither place.
    """
    package = Path(__file__).resolve().parent
    places = [package / "app" / SCRIPT, package.parent / SCRIPT]
    for path in places:
        if path.is_file():
            return path
    raise UsageError(
        f"there is no {SCRIPT} in {places[0].parent} or {places[1].parent}; install hcache again"
    )
