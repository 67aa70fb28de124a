"""Every kind of reader through every path: reading two models' runs, their edited pictures,
``measure``, the verdict, and the comparison of both models by the one reader that they share.
"""

import json

import numpy as np
import pytest
from kinds import save_kind
from reader_models import save_classifier, save_clip, save_dinov2, save_siglip

from hcache.cache.labels import label_name, save_labels
from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.extraction.run import extract
from hcache.measures import setting as setting_module
from hcache.measures.evidence import Evidence
from hcache.measures.verdict import compare
from hcache.models.loading import load_model
from hcache.readers import clicks
from hcache.readers.likeness import distances_of
from hcache.readers.reading import reader_of, readers_of
from hcache.report.exhibits import exhibits
from hcache.specs import UNCONDITIONED

SMALL = ("--samples", "4", "--nulls", "2", "--what", "directions", "--what", "likeness")
HAPPY = ("--attribute", "happy=a happy face|a sad face")
READERS = {
    "clip": (save_clip, "texts:{}", HAPPY, "happy"),
    "siglip": (save_siglip, "texts:{}", HAPPY, "happy"),
    "classifier": (save_classifier, "classifier:{}", ("--attribute", "cat"), "cat"),
    "dinov2": (save_dinov2, "clicks:by hand/picked", ("--encoder", "{}"), "picked"),
    "pixels": (None, "clicks:by hand/picked", (), "picked"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Runs of two models that come without labels."""
    home = tmp_path_factory.mktemp("home")
    for kind in ("LDM", "learned variance"):
        folder = save_kind(kind, home / "models" / kind.replace(" ", "-"))
        spec = default_spec(
            str(folder),
            samples=16,
            steps=2,
            batch=8,
            conditioning=UNCONDITIONED,
            store={"h": "full"},
        )
        run = extract(load_model(str(folder)), spec, home)
        picked = dict(enumerate([1.0, 0.0] * 8))
        save_labels(run, "by hand", {"picked": picked})
    return home


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Heads of 16 noisy pictures are no better than chance; that is tested elsewhere."""
    monkeypatch.setattr(setting_module, "STEPS", 1)
    monkeypatch.setattr(clicks, "WORST_P", 1.0)
    monkeypatch.setattr(clicks, "CONTROLS", 3)


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_goes_through_every_path(kind, home, tmp_path, capsys):
    save, reader, more, attribute = READERS[kind]
    folder = save(tmp_path / kind) if save else ""
    runs = [open_run(folder) for folder in sorted((home / "runs").iterdir())]
    asked = [each.format(folder) for each in ("--reader", reader, *more, "--name", kind)]
    in_home = ("--home", str(home))
    assert main(["read", runs[0].name, *asked, *in_home]) == 0
    assert main(["read", runs[1].name, "--reader", kind, *in_home]) == 0
    runs = [open_run(run.folder) for run in runs]
    label = label_name(runs[0], f"{kind}/{attribute}")
    for run in runs:
        assert kind in readers_of(run)
        opened = reader_of(run, kind)
        np.testing.assert_allclose(
            opened(run.images)[attribute], run.labels[kind][attribute], atol=1e-4
        )
        assert bool(distances_of(opened)) == (kind not in ("classifier", "pixels"))
        told = ("--reader", kind, "--label", label)
        assert main(["measure", run.name, *told, *SMALL, *in_home]) == 0
    found = {row.key: set(row.cells) for row in compare(runs, reader=kind) if row.cells}
    both = {run.name for run in runs}
    assert {key for key, of in found.items() if of == both} >= {
        ("likeness along a component", "component 1"),
        ("identity along a component", "component 1"),
        ("controllable", label),
        ("likeness", label),
        ("identity", label),
    }
    evidence = {run.name: Evidence(run, kind) for run in runs}
    titles = {each.title for each in exhibits("controllable", label, evidence)}
    assert len(titles) >= 3, "curves and pictures, by the reader's own name of the attribute"
    capsys.readouterr()
    assert main(["compare", *both, "--reader", kind, "--json", *in_home]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["question"] for row in rows} >= {"controllable", "likeness"}


@pytest.mark.parametrize("side", [1, 3, 40])
@pytest.mark.parametrize("kind", ["clip", "siglip", "classifier", "dinov2"])
def test_pictures_of_any_size_are_read(kind, side, tmp_path):
    """The processors scale pictures smaller or larger than the encoder's 16 x 16."""
    from hcache.readers.classifier import Classifier
    from hcache.readers.encoder import load_encoder

    folder = str(READERS[kind][0](tmp_path / kind))
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    if kind == "classifier":
        values = Classifier(model=folder).open("r", "cpu")(pictures)["cat"]
    else:
        values = load_encoder(folder, "", "cpu").pictures(pictures)
    assert len(values) == 3 and np.isfinite(values).all()
