"""What every test stands on: a home of its own, and a tiny model with a tiny run, made once."""

import gc
import os
import sys
from functools import cache

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors are faster on one thread
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub

import pytest  # noqa: E402
from pooled import cluster, pooled  # noqa: E402, F401 - fixtures of tests with Ray

# What is imported while tests are collected stays until the end. Collecting garbage meanwhile takes
# a third of that time and finds next to nothing.
gc.disable()

LONGEST_FIRST = ("test_browser.py",)
"""Files that start before the others, so that no worker is left alone with one at the end."""


def pytest_xdist_auto_num_workers(config):
    """The whole suite runs on every core, with one more worker for the times when tests wait for a
    browser or another process. Files that are named run in this very process, which is ready
    sooner.
    """
    if any(argument.split("::")[0].endswith(".py") for argument in config.args):
        return 0
    return min(len(os.sched_getaffinity(0)) + 1, 8)


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    if on_gpu := [item for item in items if item.get_closest_marker("gpu")]:
        import torch

        for item in on_gpu if not torch.cuda.is_available() else ():
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device here"))


def pytest_collection_finish():
    """Garbage is collected from here on, but not among what is imported."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def isolated_home(tmp_path, monkeypatch):
    """No test reads or writes the user's own home; this one does not exist yet."""
    home = tmp_path / "isolated home"
    monkeypatch.setenv("HCACHE_HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "isolated state"))
    return home


@pytest.fixture(scope="session", autouse=True)
def components_are_looked_for_once():
    """Each AppTest reads the metadata of every installed package to find Streamlit's components.
    That takes longer than most pages, and finds the same each time.
    """
    if "streamlit.testing.v1" not in sys.modules:
        yield  # no test of a page: Streamlit need not be loaded
        return
    from streamlit.components.v2 import manifest_scanner

    with pytest.MonkeyPatch.context() as patched:
        found = cache(manifest_scanner.scan_component_manifests)
        patched.setattr(manifest_scanner, "scan_component_manifests", found)
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A saved pipeline of three levels on 16 x 16 pixels, in a folder whose path has a space in
    it.
    """
    from tiny import make_unet, save_pipeline

    return save_pipeline(tmp_path_factory.mktemp("tiny models") / "tiny", make_unet())


@pytest.fixture(scope="session")
def tiny_model(tiny_folder):
    from hcache.models.loading import load_model

    return load_model(str(tiny_folder))


@pytest.fixture(scope="session")
def tiny_spec(tiny_folder):
    """12 samples in shards of 5, 5 and 2; 4 steps; h and skip.1 in full, skip.2 and skip.3
    pooled.
    """
    from hcache.cards import default_spec

    store = {"h": "full", "skip.1": "full", "skip.2": "pooled", "skip.3": "pooled"}
    return default_spec(str(tiny_folder), samples=12, steps=4, batch=5, store=store)


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory):
    return tmp_path_factory.mktemp("tiny home")


@pytest.fixture(scope="session")
def tiny_run(tiny_model, tiny_spec, tiny_home):
    """The extraction of ``tiny_spec``. Shared by all tests: who wants to change it takes
    ``copied_run``.
    """
    from hcache.extraction.run import extract

    return extract(tiny_model, tiny_spec, tiny_home)


@pytest.fixture
def copied_run(tiny_run, tmp_path):
    """A copy of the tiny run in a home of its own, ``<tmp_path>/copy``, to be spoilt."""
    import shutil

    from hcache.cache.reading import open_run

    shutil.copytree(tiny_run.folder, tmp_path / "copy" / "runs" / tiny_run.name)
    return open_run(tiny_run.name, tmp_path / "copy")


@pytest.fixture(scope="session")
def direction(tiny_run):
    """A random direction that can be fitted again."""
    from recipe_kinds import noise_of

    return noise_of(tiny_run)


@pytest.fixture(scope="session")
def recipes(tiny_run, direction):
    """One of every kind, by name."""
    from recipe_kinds import recipes_of

    return recipes_of(tiny_run, direction)


@pytest.fixture(scope="session")
def cells(tiny_model, tiny_run, recipes, direction):
    """The same, rendered together."""
    from recipe_kinds import cells_of

    return cells_of(tiny_model, tiny_run, recipes, direction)


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """A folder for what the tests of Asyrp's blocks share."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def plain(homes):
    """A model that Asyrp's plain blocks fit, and a run of it: (model, run)."""
    from asyrp_blocks import save_plain

    return save_plain(homes)


@pytest.fixture(scope="module")
def adm(homes):
    """Likewise of guided diffusion's kind."""
    from asyrp_blocks import save_adm

    return save_adm(homes)
