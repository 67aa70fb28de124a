"""Style sheets, scripts and templates are files, and each is read by the module it serves."""

import ast
import re
from pathlib import Path

import hcache
from hcache.assets import read_asset

PACKAGE = Path(hcache.__file__).parent


def read_by_modules():
    """Every asset that a module reads, as a path."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_asset":
                where, name = node.args
                assert getattr(where, "id", "") == "__file__", path
                yield path.parent / "assets" / name.value


def test_every_asset_is_read_and_is_there():
    found = set(read_by_modules())
    assert found == {path for path in PACKAGE.glob("**/assets/*") if path.is_file()}
    assert {path.suffix for path in found} == {".css", ".js", ".html"}


def test_an_asset_is_text_with_an_end():
    for path in read_by_modules():
        text = read_asset(str(path.parent.parent / "some.py"), path.name)
        assert text.strip() and text.endswith("\n"), path
        if path.suffix == ".css":
            assert "{{" not in text, "it is no template"
            rules = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
            assert rules.count("{") == rules.count("}") > 0, path
