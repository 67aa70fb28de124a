"""A checkout as the README leaves it: with the virtual environment inside the folder that the
server is started in.
"""

import os
import shutil
import sys
from pathlib import Path

from hcache.bench.serving import ENVIRONMENT, ROOT

LEFT_OUT = shutil.ignore_patterns(".git", ENVIRONMENT, "artefacts", "__pycache__", ".*_cache")


def as_the_readme_makes_it(folder):
    """This checkout itself, if this very environment lies inside it; else a copy with the
    environment, in ``folder``.

    Of the environment's files only the names are copied, where the file system allows that.
    """
    if Path(sys.prefix) == ROOT / ENVIRONMENT:
        return ROOT
    root = folder / "checkout"
    shutil.copytree(ROOT, root, ignore=LEFT_OUT)
    shutil.copytree(sys.prefix, root / ENVIRONMENT, symlinks=True, copy_function=_link_or_copy)
    start = root / ENVIRONMENT / "bin" / "streamlit"
    lines = start.read_text(encoding="utf-8").splitlines(keepends=True)
    start.unlink()  # the other name of this file is the environment's own
    start.write_text(
        "".join([f"#!{root / ENVIRONMENT / 'bin' / 'python'}\n", *lines[1:]]), encoding="utf-8"
    )
    start.chmod(0o755)
    return root


def _link_or_copy(source, target):
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)
