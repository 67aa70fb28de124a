"""The site of the documentation: its pages, notebooks, pictures and generated texts agree with the
code.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS / "scripts"))
import options  # noqa: E402 - of the folder above
import page_sources  # noqa: E402

NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
PICTURES = sorted((DOCS / "pictures").glob("page-*.webp"))
GENERATED = {"reference/options.md", "contributing/layers.md", "how-to/extend.md"}
GENERATED |= {"contributing/index.md", "contributing/changes.md"}
PAGES = {path.stem for path in (ROOT / "hcache" / "guide" / "measures").glob("*.md")}


def in_nav(entry):
    """Every page that an entry of the menu names."""
    if isinstance(entry, str):
        yield entry
    for child in entry if isinstance(entry, list) else ():
        yield from in_nav(child)
    for child in entry.values() if isinstance(entry, dict) else ():
        yield from in_nav(child)


def test_every_page_is_in_the_menu_and_the_menu_names_pages():
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    notebooks = {f"tutorials/{path.stem}.md" for path in TUTORIALS}
    measures = {f"explanation/measures/{name}.md" for name in PAGES}
    named = list(in_nav(NAV["nav"]))
    assert len(measures) > 8 and len(notebooks) >= 4
    assert sorted(named) == sorted(written | notebooks | measures | GENERATED)


def test_the_site_is_built_to_open_from_disk():
    assert NAV["use_directory_urls"] is False and NAV["theme"]["font"] is False
    assert all(not script.startswith("http") for script in NAV["extra"]["polyfills"])
    built = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "mkdocs build --strict" in built and "docs/scripts/check_site.py" in built


def test_what_builds_the_site_is_pinned_and_apart():
    ours = (ROOT / "docs" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = {line.split("==")[0].lower() for line in ours if line and not line.startswith("#")}
    assert {"mkdocs", "mkdocs-material", "mkdocstrings"} <= names
    assert all(re.fullmatch(r"[\w-]+==[\w.]+|#.*", line) for line in ours), ours
    product = (ROOT / "requirements.txt").read_text(encoding="utf-8").lower()
    assert not {name for name in names if f"\n{name}==" in product}


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_that_of_its_source(path):
    notebook = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert notebook["metadata"]["source_sha256"] == digest, (
        f"execute it again: python docs/scripts/run_notebooks.py {path.stem}"
    )
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert len(outputs) >= 4 and all(output["output_type"] != "error" for output in outputs)
    assert any("image/svg+xml" in output.get("data", {}) for output in outputs) or (
        path.stem == "own-attribute"
    )
    assert path.with_suffix(".ipynb").stat().st_size < 2e6


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, path],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    told = {
        "first-run": "yaw from h: R²",
        "own-model": "direction show",
        "own-attribute": "random directions move the reading as far",
        "figure": "bytes of PDF",
    }
    assert told[path.stem] in done.stdout


def test_the_page_of_options_has_every_command_and_every_option():
    page = options.as_markdown()
    assert {name for name, _ in options.commands()} == set(re.findall(r"^## (.+)$", page, re.M))
    assert page.count("\n## direction ") >= 4 and "\n## extract\n" in page
    for name, parser in options.commands():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        known = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", parser.format_usage())) - {"--help"}
        assert known and known <= set(re.findall(r"--[a-z][\w-]*", section)), name


def test_every_argument_says_what_it_means():
    rows = re.findall(r"^\| `(.+?)` \| (.*) \|$", options.as_markdown(), re.M)
    assert len(rows) > 200 and [name for name, meaning in rows if len(meaning) < 5] == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_no_picture_is_older_than_its_page(picture):
    known = json.loads((DOCS / "pictures" / "pages.json").read_text(encoding="utf-8"))
    page = picture.stem.removeprefix("page-").capitalize().replace("Pca", "PCA")
    assert known[page] == page_sources.page_digest(page), (
        f"take it again: PYTHONPATH=. python docs/scripts/screenshots.py --only {page}"
    )


def test_the_digest_of_a_page_is_of_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(page_sources, "ROOT", tmp_path)
    (tmp_path / "pages").mkdir()
    (tmp_path / "hcache" / "ui").mkdir(parents=True)
    (tmp_path / "pages" / "probes.py").write_text("from hcache.ui.text import show\nshow()\n")
    module = tmp_path / "hcache" / "ui" / "text.py"
    module.write_text('"""A text."""\n\n\ndef show():\n    print("a")\n')
    first = page_sources.page_digest("Probes")
    module.write_text('"""Another text."""\n# with a comment\ndef show():\n    print("a")\n')
    assert page_sources.page_digest("Probes") == first
    module.write_text('"""A text."""\n\n\ndef show():\n    print("b")\n')
    assert page_sources.page_digest("Probes") != first
