"""What comes from an address, an upload or a file stays inside the home, within bounds, and is
never run.
"""

import ast
import io
import struct
import tomllib
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

import hcache
from hcache.cache.layout import RUN_JSON, run_folder, run_names
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import CacheError, UnknownRunError, UsageError
from hcache.images.pictures import MOST_PIXELS, load_prepared, prepare_picture

ROOT = Path(hcache.__file__).parent.parent
BAD = [
    "..",
    "/etc/passwd",
    "../../etc",
    "a\0b",
    "x" * 5000,
    "-1",
    "9" * 25,
    "9" * 5000,
    "nan",
    "1-2-3",
    "",
    "%2e%2e",
]
PARAMETERS = (
    "run",
    "sample",
    "donor",
    "recipient",
    "step",
    "site",
    "label",
    "colour",
    "pc1",
    "page",
    "sort",
    "order",
    "window",
    "positives",
    "method",
    "model",
    "anatomy",
    "strength",
    "edit-boost",
    "swap-boost",
)


@pytest.fixture
def outside(copied_run, tmp_path):
    """A run that lies beside the home, and a link to it inside."""
    elsewhere = tmp_path / "elsewhere"
    copied_run.folder.rename(elsewhere)
    home = tmp_path / "copy"
    (home / "runs" / "linked").symlink_to(elsewhere)
    return home, elsewhere


def test_a_link_out_of_the_home_is_no_run(outside, capsys):
    home, _ = outside
    assert run_names(home) == []
    with pytest.raises(UnknownRunError):
        run_folder(home, "linked")
    for command in ("info", "verify", "repair", "cancel", "labels-export"):
        assert main([command, "linked", "--home", str(home)]) == 2
    assert main(["runs", "--json", "--home", str(home)]) == 0
    assert capsys.readouterr().out.strip() == "[]"


def test_a_link_that_leads_to_itself_or_nowhere_is_no_run(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs" / "loop")
    (tmp_path / "runs" / "gone").symlink_to(tmp_path / "nowhere")
    assert run_names(tmp_path) == []
    for name in ("loop", "gone"):
        with pytest.raises(UnknownRunError):
            run_folder(tmp_path, name)


def test_a_home_may_be_a_link_itself(copied_run, tmp_path):
    """The user chose it; only what is inside is held to it."""
    (tmp_path / "link").symlink_to(tmp_path / "copy")
    assert run_names(tmp_path / "link") == [copied_run.name]
    assert run_folder(tmp_path / "link", copied_run.name).samefile(copied_run.folder)


@pytest.mark.parametrize(
    "digest",
    ["../secret", "/etc/passwd", "..", "A" * 64, "a" * 63, "a" * 64 + "\n", "a/" + "a" * 62],
)
def test_a_pictures_name_in_a_run_is_a_digest_or_the_run_is_refused(copied_run, tmp_path, digest):
    import json

    path = copied_run.folder / RUN_JSON
    data = json.loads(path.read_text())
    data["spec"] |= {"images": [digest] * 12, "samples": 12, "eta": 0.0}
    path.write_text(json.dumps(data))
    with pytest.raises(CacheError, match="SHA-256"):
        open_run(copied_run.folder)


@pytest.mark.parametrize(
    "page", ["dashboard", "extract", "gallery", "pca", "probes", "swap", "edit", "figures"]
)
@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value[:12]))
def test_no_address_breaks_a_page_or_leads_out_of_the_home(
    copied_run, tmp_path, monkeypatch, page, value
):
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    if page != "dashboard":
        app.switch_page(f"pages/{page}.py")
    for name in PARAMETERS:
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    offered = [button.label for button in app.button if button.key == f"instead-{copied_run.name}"]
    assert offered == [copied_run.name] or app.selectbox(key="choose-run").value == copied_run.name


def claiming(width, height):
    """A PNG of a few bytes that claims to be so large."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "size", [(MOST_PIXELS // 1000 + 1, 1000), (100_000, 100_000), (2**31 - 1, 1)], ids=str
)
def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_unpacked(size):
    data = claiming(*size)
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="huge.png"):
            prepare_picture(data, "huge.png", 16, 16)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_uploads_are_limited_and_the_server_is_this_machines_alone():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert (
        config["server"]["address"] == "127.0.0.1" and 0 < config["server"]["maxUploadSize"] <= 20
    )
    server = config["server"]
    assert server.get("enableXsrfProtection", True) and server.get("enableCORS", True), (
        "not switched off"
    )


@pytest.mark.parametrize(
    "name", ["../../evil.png", "/etc/evil.png", "a\0.png", "x" * 5000 + ".png"]
)
def test_an_uploads_name_is_never_a_path(tmp_path, name):
    out = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(out, "PNG")
    picture = prepare_picture(out.getvalue(), name, 16, 16)
    path = picture.save(tmp_path / "images")
    assert path.parent == tmp_path / "images" and path.stem == picture.digest
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")] == [
        f"images/{picture.digest}.png"
    ]
    np.testing.assert_array_equal(load_prepared(path.parent, picture.digest), picture.pixels)


NEVER = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def runs_what_it_reads(source):
    """What of a source could run code that a file holds: names of the calls and imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in NEVER]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in NEVER:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            unsafe = (
                name
                in (
                    "eval",
                    "exec",
                    "pd.read_pickle",
                    "pandas.read_pickle",
                    "yaml.load",
                    "yaml.unsafe_load",
                )
                or (name == "torch.load" and options.get("weights_only") != "True")
                or options.get("allow_pickle", "False") != "False"
                or options.get("trust_remote_code", "False") != "False"
            )
            found += [name] if unsafe else []
    return found


def test_nothing_that_is_read_is_run():
    sources = [
        *(ROOT / "hcache").rglob("*.py"),
        *(ROOT / "pages").glob("*.py"),
        ROOT / "dashboard.py",
    ]
    assert len(sources) > 50
    for path in sources:
        assert runs_what_it_reads(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "eval(text)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(text)",
        "f(trust_remote_code=True)",
        "import joblib.numpy_pickle",
    ],
)
def test_the_search_finds_what_it_is_for(source):
    assert runs_what_it_reads(source)
    assert not runs_what_it_reads("torch.load(p, weights_only=True); np.load(p); yaml.safe_load(t)")
