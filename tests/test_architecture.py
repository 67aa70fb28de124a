"""Layers point one way, heavy libraries stay where they belong, and the public names are pinned."""

import ast
import importlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import hcache
from hcache.recipes.edits import EDITS

PACKAGE = Path(hcache.__file__).parent
ROOT = PACKAGE.parent

LAYERS = (
    (
        "errors",
        "allocator",
        "assets",
        "dashboard",
        "documentation",
        "starting",
        "atomic",
        "bounded",
        "foreign",
        "thread_locks",
    ),
    ("images", "pictures"),
    (
        "specs",
        "cards",
        "anatomies",
        "features",
        "schemas",
        "fields",
        "options",
        "registry",
        "loras",
        "lora_downloads",
        "noise_schedules",
        "progress",
        "ray_cluster",
        "ray_pool",
        "texts",
    ),
    ("cache",),
    ("analysis",),
    ("measures.groups",),  # which samples belong together: held out together, too
    ("sparse",),
    ("recipes",),
    ("models",),
    ("sampling",),
    ("directions",),
    ("edits",),
    ("toyfaces.factors", "toyfaces.drawing", "toyfaces.reader"),  # what readers find by name
    ("readers",),
    ("similarities",),
    ("measures",),
    ("extraction", "extract"),
    ("background",),
    ("toyfaces",),  # training and measuring
    ("figures",),
    ("report",),
    ("bench",),
    ("cli", "__main__"),
    ("ui",),
)
"""From the bottom up. A module imports from its own layer or from those below, by its longest
name here.
"""

TORCH_FREE = (
    "errors",
    "thread_locks",
    "foreign",
    "specs",
    "cards",
    "anatomies",
    "features",
    "images",
    "schemas",
    "fields",
    "options",
    "registry",
    "loras",
    "lora_downloads",
    "noise_schedules",
    "recipes",
    "edits.shift",
    "edits.distance",
    "edits.swap",
    "edits.slerp",
    "edits.freeu",
    "progress",
    "texts",
    "cache",
    "analysis",
    "background",
    "extraction.in_work",
    "extraction.repair",
    "ray_cluster",
    "ray_pool",
    "figures",
    "readers.reader",
    "readers.registry",
    "readers.texts",
    "readers.classifier",
    "readers.clicks",
    "readers.function",
    "readers.saved",
    "readers.reading",
    "readers.checks",
    "readers.likeness",
    "readers.perceptual",
    "similarities",
    "measures.by_cell",
    "measures.cells",
    "measures.declared",
    "measures.measure",
    "measures.of_reader",
    "measures.probes_by_cell",
    "measures.registry",
    "measures.suite",
    "report",
    "cli",
)
"""What may not import torch or diffusers when it is imported."""

PUBLIC = [
    "Anatomy",
    "Features",
    "HcacheError",
    "Model",
    "Run",
    "RunSpec",
    "Step",
    "__version__",
    "denoise",
    "load_anatomy",
    "load_model",
    "open_run",
]


def modules():
    """Every module of the package but its front: dotted name inside the package -> path."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


MODULES = modules()


@cache
def parsed(path):
    """The syntax tree of a file, read once."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path, name="", top_only=False):
    """What a file imports: absolute names; inside the package as ``hcache.…``."""
    return tuple(_imports(path, name, top_only))


def _imports(path, name, top_only):
    tree = parsed(path)
    package = (
        ["hcache", *name.split(".")]
        if path.name == "__init__.py"
        else ["hcache", *name.split(".")[:-1]]
    )
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{stem}.{alias.name}".removeprefix("hcache.")
                yield f"{stem}.{alias.name}" if inner in MODULES else stem


def layer(module):
    """(number of the layer, its entry) by the longest entry that is the module or a package
    around it.
    """
    fits = [
        (len(entry), number, entry)
        for number, entries in enumerate(LAYERS)
        for entry in entries
        if module == entry or module.startswith(entry + ".")
    ]
    assert fits, f"{module} belongs to no layer; give it one"
    _, number, entry = max(fits)
    return number, entry


def within(name):
    """The module of the package that an import means; None for another package or the package's
    front.
    """
    return name.removeprefix("hcache.") if name.startswith("hcache.") else None


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_layer_or_below(module):
    """Lazy imports and those for type checkers count as well."""
    for imported in filter(None, map(within, imports(MODULES[module], module))):
        assert layer(imported)[0] <= layer(module)[0], f"{module} imports {imported} from above"


def test_no_two_modules_import_each_other():
    graph = {
        name: {within(i) for i in imports(path, name)} & MODULES.keys()
        for name, path in MODULES.items()
    }
    done = set()

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for imported in graph[module] - {module}:
                visit(imported, [*trail, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_the_parser_sees_what_it_must():
    """The tests above cannot pass for not looking."""
    assert "hcache.cache.reading" in set(imports(MODULES["edits.render"], "edits.render"))
    assert "hcache.readers.encoder" in set(imports(MODULES["readers.texts"], "readers.texts")), (
        "inside a function"
    )
    assert "hcache.background.extractions" in set(imports(MODULES["cli.runs"], "cli.runs"))
    assert "hcache.models.model" in set(imports(MODULES["ui.loaders"], "ui.loaders")), (
        "for type checkers"
    )
    assert (
        layer("toyfaces.reader")
        < layer("readers.texts")
        == layer("readers")
        < layer("toyfaces.train")
    )


def test_the_package_front_imports_nothing_when_it_is_imported():
    roots = {name.split(".")[0] for name in imports(PACKAGE / "__init__.py", top_only=True)}
    assert roots <= {"__future__", "importlib", "os", "sys", "typing"}


def test_only_pages_and_ui_know_streamlit():
    pages = {ROOT / "dashboard.py", *(ROOT / "pages").glob("*.py")}
    sources = {path: set(imports(path, name)) for name, path in MODULES.items()}
    sources |= {path: set(imports(path)) for path in pages}
    users = {
        path
        for path, names in sources.items()
        if any(name.split(".")[0] == "streamlit" for name in names)
    }
    assert users, "someone does"
    for path in users - pages:
        assert path.is_relative_to(PACKAGE / "ui"), path


def test_locks_that_outlive_a_call_are_free_in_a_forked_process():
    """A plain lock at a module's top stays taken if another thread held it at the fork."""
    found = [
        (name, node.lineno)
        for name, path in MODULES.items()
        for statement in parsed(path).body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute)
        and node.attr in ("Lock", "RLock", "Condition", "Semaphore")
    ]
    assert found == []


def test_bars_are_those_whose_lock_no_other_process_shares():
    users = {name for name, path in MODULES.items() if "tqdm" in set(imports(path, name))}
    assert "progress" in users
    assert {name for name in users if not name.startswith("toyfaces.")} == {"progress"}


def test_pages_only_put_panels_together():
    for path in (ROOT / "dashboard.py", *(ROOT / "pages").glob("*.py")):
        for name in imports(path):
            assert name.startswith("hcache.ui") or name == "streamlit", (path.name, name)


def test_every_chart_and_picture_on_a_page_has_an_alternative_text():
    found = []
    for path in [
        *(PACKAGE / "ui").rglob("*.py"),
        *(ROOT / "pages").glob("*.py"),
        ROOT / "dashboard.py",
    ]:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                shows = node.func.attr in ("plotly_chart", "image")
                found += (
                    [(path.name, node.lineno, {word.arg for word in node.keywords})]
                    if shows
                    else []
                )
    assert len(found) > 15
    assert [place for *place, words in found if "alt" not in words] == []


def test_one_executor_takes_edits_through_the_sampling_loop():
    """Strips, figures, measures and the page's preview call no loop of their own."""

    def names(path):
        nodes = ast.walk(parsed(path))
        return {a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}

    users = {name for name, path in MODULES.items() if names(path) & {"denoise", "predict"}}
    assert "extraction.shard" in users, "the parser sees them"
    rooms = ("edits", "measures", "figures", "report", "background", "cli", "ui")
    assert {name for name in users if name.split(".")[0] in rooms} == {"edits.executor"}


def test_the_swap_page_knows_no_edit_by_its_class():
    """It takes what it offers from the registry of edits."""
    edits = {place.split(":")[0].removeprefix("hcache.") for place in EDITS.own.values()}
    assert edits & {within(i) for i in imports(MODULES["figures.making"], "figures.making")}
    for module in ("ui.panels.swap", "ui.panels.swap_setup", "ui.edit_widgets"):
        assert not edits & {within(i) for i in imports(MODULES[module], module)}, module


@pytest.mark.parametrize("entry", TORCH_FREE)
def test_what_must_be_light_names_no_torch_at_its_top(entry):
    for module, path in MODULES.items():
        if module == entry or module.startswith(entry + "."):
            roots = {name.split(".")[0] for name in imports(path, module, top_only=True)}
            assert not roots & {"torch", "diffusers", "streamlit"}, module


@pytest.mark.parametrize(
    "entry",
    [
        "errors",
        "specs",
        "cards",
        "features",
        "images",
        "recipes",
        "cache",
        "analysis",
        "background",
    ],
)
def test_the_cache_analysis_and_jobs_name_no_torch_at_all(entry):
    for module, path in MODULES.items():
        if module == entry or module.startswith(entry + "."):
            assert not {name.split(".")[0] for name in imports(path, module)} & {
                "torch",
                "diffusers",
            }, module


def test_reading_a_cache_loads_no_torch():
    """In a process of its own: the import graph as Python walks it. The commands load least."""
    light = [
        "cache.reading",
        "cache.shards",
        "background.extractions",
        "analysis.probes",
        "analysis.pca",
        "cli.main",
        "readers",
        "directions.naive",
        "edits.shift",
        "edits.distance",
        "edits.swap",
        "edits.slerp",
        "edits.freeu",
        "figures.unet",
        "figures.strips",
        "figures.notebook",
        "figures.pdf",
    ]
    code = f"""
import importlib, sys
import hcache
import hcache.cli.main
slow = [name for name in ("scipy", "sklearn", "pandas", "plotly") if name in sys.modules]
assert not slow, f"every command would wait for {{slow}}"
for name in {light!r}:
    importlib.import_module("hcache." + name)
hcache.open_run, hcache.RunSpec, hcache.Features
assert importlib.import_module("hcache.measures.registry").measures()
heavy = [name for name in ("torch", "diffusers", "streamlit") if name in sys.modules]
assert not heavy, heavy
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_public_names_are_pinned():
    assert hcache.__all__ == PUBLIC and dir(hcache) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(hcache, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        hcache.nonsense  # noqa: B018


def test_every_error_is_the_builtin_it_is_said_to_be():
    """The table in errors.py is the code's: names, builtins and exit codes."""
    errors = importlib.import_module("hcache.errors")
    expected = {
        "UsageError": (2, ValueError),
        "UnknownModelError": (2, LookupError),
        "UnknownSiteError": (2, LookupError),
        "UnknownRunError": (2, LookupError),
        "HomeError": (2, OSError),
        "ModelError": (1, RuntimeError),
        "CacheError": (1, OSError),
        "NotStoredError": (1, LookupError),
        "RunBusyError": (1, OSError),
        "NoSpaceError": (5, OSError),
        "NoUNetError": (2, LookupError),
        "DamagedError": (3, Exception),
        "AnalysisError": (1, ValueError),
        "Interrupted": (130, Exception),
    }
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)} - {
        "HcacheError",
        "Iterable",
    }
    assert defined == expected.keys()
    for name, (code, builtin) in expected.items():
        kind = getattr(errors, name)
        assert (
            issubclass(kind, (errors.HcacheError,))
            and issubclass(kind, builtin)
            and kind.exit_code == code
        )
        assert str(kind("a message, as it is")) == "a message, as it is"
