"""The package's metadata says what the code needs, and every command that a message names is
one.
"""

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import hcache
from hcache import documentation
from hcache.cli.main import parsers

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hcache"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"][
    "build"
]["targets"]["wheel"]
RANGES = {
    canonicalize_name(found.name): found for found in map(Requirement, PROJECT["dependencies"])
}
EXTRAS = {
    canonicalize_name(Requirement(one).name)
    for of in PROJECT["optional-dependencies"].values()
    for one in of
}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
    "markdown_it": "markdown-it-py",
    "umap": "umap-learn",
    "skimage": "scikit-image",
}
"""Of modules that are not called as what installs them."""
BROUGHT = {"tokenizers": "transformers", "starlette": "streamlit"}
"""What another dependency always brings along."""


def pins():
    lines = [
        line.split("#")[0].strip()
        for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    ]
    return [Requirement(line) for line in lines if line]


def test_every_pin_lies_in_its_range():
    assert {canonicalize_name(pin.name) for pin in pins()} == RANGES.keys()
    for pin in pins():
        (exact,) = pin.specifier
        assert (
            exact.operator == "=="
            and Version(exact.version) in RANGES[canonicalize_name(pin.name)].specifier
        ), pin


def test_every_range_has_both_ends():
    for name, found in RANGES.items():
        assert {each.operator for each in found.specifier} == {">=", "<"}, name


def test_all_that_is_imported_is_required():
    imported = set()
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "dashboard.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    needed = {
        canonicalize_name(DISTRIBUTIONS.get(name, name))
        for name in imported - sys.stdlib_module_names
    }
    needed -= BROUGHT.keys() | {"hcache"}
    assert len(needed) > 15 and needed <= RANGES.keys() | EXTRAS, needed - RANGES.keys() - EXTRAS


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert Version(hcache.__version__)
    assert f"## [{hcache.__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8")).keys() - {
        "cff-version"
    }


def test_the_wheel_takes_what_streamlit_wants_beside_the_script():
    taken = {source: target for source, target in WHEEL["force-include"].items()}
    assert taken == {
        "dashboard.py": "hcache/app/dashboard.py",
        "pages": "hcache/app/pages",
        ".streamlit/config.toml": "hcache/app/.streamlit/config.toml",
        **{f"docs/{part}": f"hcache/app/docs/{part}" for part in documentation.FOLDERS},
    }
    assert all((ROOT / source).exists() for source in taken)
    assert not (PACKAGE / "app").exists(), "the copies are made when the wheel is, and kept nowhere"
    assert (PACKAGE / "py.typed").is_file()


def strings(path):
    """Every text of a module with what is filled in as ``…``, and its line; of another file its
    lines.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from ((number, line) for number, line in enumerate(text.splitlines(), 1))
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
    yield from (
        (number, line) for number, line in enumerate(text.splitlines(), 1) if "#" in line
    )  # comments too


def told():
    """Everything that hcache says of itself in code, guide, cards and pages, with its place."""
    paths = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".md", ".yaml", ".json")]
    paths += [*(ROOT / "pages").glob("*.py"), *(ROOT.glob("*.md")), ROOT / "dashboard.py"]
    for path in paths:
        for number, text in strings(path):
            yield f"{path.relative_to(ROOT)}:{number}", text


WITH_PYTHON = re.compile(r"python -m hcache +((?:direction +)?[a-z][a-z-]*)([^`\n]*)")
BARE = re.compile(r"`+hcache ((?:direction )?[a-z][a-z-]*)([^`\n]*)`")


def test_every_command_that_is_named_is_one():
    known, seen = parsers(), []
    for place, text in told():
        for name, rest in [*WITH_PYTHON.findall(text), *BARE.findall(text)]:
            name = re.sub(" +", " ", name)
            seen.append(name)
            assert name in known, f"{place} names {name!r}"
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest.split("#")[0]))
            assert options <= set(re.findall(r"--[a-z][a-z-]*", known[name].format_help())), (
                f"{place} names {options} of {name}"
            )
    assert len(seen) > 40 and {"repair", "render", "labels-import", "runs", "direction fit"} <= set(
        seen
    )


def test_messages_name_commands_as_they_work_everywhere():
    """``hcache`` alone is a command only where the package is installed; ``python -m hcache`` is
    one in a checkout.
    """
    inside = [(place, text) for place, text in told() if place.startswith(("hcache/", "pages/"))]
    assert len(inside) > 1000
    assert [(place, found) for place, text in inside for found in BARE.findall(text)] == []


def test_every_module_that_is_named_to_be_run_is_one():
    seen = {
        found
        for _, text in told()
        for found in re.findall(r"python -m (hcache\.[a-z_.]*[a-z])", text)
    }
    assert len(seen) >= 6
    assert [name for name in seen if importlib.util.find_spec(name) is None] == []


def test_every_type_that_is_not_checked_says_why():
    """``# ty: ignore[rule]  # the reason``; and mypy's form, which names no rule of ty's, is not
    used.
    """
    found = []
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "dashboard.py"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"#\s*type:\s*ignore", text), path
        found += re.findall(r"#\s*ty:\s*ignore.*", text)
    assert found and all(
        re.fullmatch(r"# ty: ignore\[[a-z-]+\]  # \w.{10,}", line) for line in found
    ), found


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_what_a_reader_looks_for_is_there(name):
    assert (ROOT / name).stat().st_size > 200
