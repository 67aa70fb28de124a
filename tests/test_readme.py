"""What the README and docs/ show does what they say."""

import re
import shlex
from pathlib import Path

import pytest

from hcache.cards import default_spec
from hcache.cli.main import GROUPS, build_parser
from hcache.cli.main import parsers as all_parsers
from hcache.extraction.run import extract
from hcache.images.pngs import read_recipe
from hcache.models.loading import load_model
from hcache.recipes.sheet import read_cells

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
ALL = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
MOST_LINES = 150
MODEL = "toyfaces-ddpm-64"


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    spec = default_spec(MODEL, samples=2)
    assert spec.name in code, "the README names a run that this model does not give"
    (tmp_path / "runs").mkdir()
    extract(load_model(MODEL), spec, tmp_path)
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "('h', 'skip.1', 'skip.2', 'skip.3', 'skip.4')" in printed
    assert "(2, 8192) (128, 8, 8) [" in printed
    assert "u-figure.pdf Swaps in toyfaces-ddpm-64" in printed and "steps 16 to 19 of 20" in printed
    assert (tmp_path / "u-figure.pdf").read_bytes().startswith(b"%PDF")
    assert len(printed.splitlines()) == 7


def test_the_opening_picture_carries_its_recipes():
    cells = read_cells(read_recipe((ROOT / "docs" / "pictures" / "u-figure.png").read_bytes()))
    assert {cell.recipe.run for cell in cells} == {default_spec(MODEL).name}, (
        "docs/scripts/u_figure.py makes it anew"
    )
    assert [cell.recipe.edits[0].sites[0] for cell in cells[:5]] == [
        "skip.4",
        "skip.3",
        "skip.2",
        "skip.1",
        "h",
    ]


def commands():
    """Every line of a block that begins with the command, or with a variable or ``srun`` before
    it.
    """
    lines = [line.split("#")[0].replace("[options]", "").strip() for line in ALL.splitlines()]
    found = (re.match(r"(?:[A-Z_]+=\S+ |srun )?(python -m hcache.*)", line) for line in lines)
    return [each[1] for each in found if each]


def commands_in_the_text():
    return re.findall(r"`(python -m hcache [a-z][^`]*)`", ALL)


def parsers():
    """The parser of every command, those of ``direction`` as well, by what is typed after
    ``python -m hcache``.
    """
    found = {name: parser for name, parser in all_parsers().items() if name not in ("", *GROUPS)}
    for parser in found.values():
        parser.format_usage()  # from when on it has all its options
    return found


def options_of(parser):
    """The options of a command, as its help names them."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", parser.format_help()))


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_is_one(command):
    assert callable(build_parser().parse_args(shlex.split(command)[3:]).run)


@pytest.mark.parametrize("command", commands_in_the_text())
def test_every_command_in_the_text_is_one(command):
    assert "\n" not in command and "#" not in command, "two lines have run together"
    assert callable(build_parser().parse_args(shlex.split(command)[3:]).run)


def test_every_option_that_the_readme_names_is_one():
    """Of a command; or of a module that is run by itself, in whose file it stands."""
    known = {option for parser in parsers().values() for option in options_of(parser)}
    modules = re.findall(r"python -m (hcache\.[a-z_.]+[a-z])", ALL)
    sources = [
        ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        for module in modules
    ]
    known |= {
        option
        for source in sources
        for option in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', source)
    }
    others = {"--check", "--version"}  # ruff's, and the program's own
    ours = re.sub(r"^```bash\n.*?^```$", "", ALL, flags=re.S | re.M)  # of other programs, mostly
    named = set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]*(?![\w-]|\.\w)", ours)
    )  # but for Streamlit's, as --server.port
    assert len(named) > 30 and named - known == others


def test_every_command_takes_what_all_are_said_to_take():
    assert "All take `--json`, `--help` and `--status FILE`" in ALL
    for name, parser in parsers().items():
        assert {"--json", "--help", "--status"} <= options_of(parser), name
        touches_runs = re.search(r"\bRUN\b", parser.format_usage())
        assert not touches_runs or "--home" in options_of(parser), name


def test_every_command_is_documented():
    typed = {" ".join(shlex.split(command)[3:5]) for command in commands()}
    missing = {
        name
        for name in parsers()
        if not any(line == name or line.startswith(f"{name} ") for line in typed)
    }
    assert missing == {"background"}, "which the dashboard types itself"


def test_the_readme_is_short():
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    wrong = [
        link for link in links if not (link.startswith("https://") or (page.parent / link).exists())
    ]
    assert set(wrong) <= {"options.md", "layers.md"}, "pages that are made when the site is built"


def test_every_page_of_the_dashboard_is_in_the_readme():
    pages = {path.stem for path in (Path(__file__).parent.parent / "pages").glob("*.py")}
    named = {name.lower() for name in re.findall(r"^\| (\w+) \|", README, re.M)}
    assert pages <= named


def test_no_placeholder_is_left():
    known = {"HCACHE_HOME", "HCACHE_CARDS", "HF_HOME", "HF_HUB_OFFLINE"}
    assert not set(re.findall(r"\b[A-Z]+_[A-Z]+(?:_[A-Z]+)*\b", README)) - known


@pytest.mark.parametrize(
    "page", sorted((ROOT / "hcache" / "guide").rglob("*.md")), ids=lambda page: page.stem
)
def test_every_link_of_the_guide_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert all(link.startswith("https://") or (page.parent / link).exists() for link in links)
