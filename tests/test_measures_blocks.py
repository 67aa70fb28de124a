"""What is measured of a transformer: swaps of its blocks, and in words what needs h."""

from kinds import save_kind
from test_cli import json_of, out_of

from hcache.cards import default_spec
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.specs import Conditioning


def test_swaps_of_blocks_are_measured_and_what_needs_h_is_left_out_in_words(tmp_path, capsys):
    folder = save_kind("DiT", tmp_path / "model")
    options = {"store": {"block.*": "full"}, "conditioning": Conditioning(classes=(3,))}
    spec = default_spec(str(folder), samples=16, steps=2, batch=8, **options)
    run = extract(load_model(str(folder)), spec, tmp_path / "home")
    home = ("--home", str(tmp_path / "home"))
    cells = json_of(capsys, "measure", run.name, "--what", "swaps", *home)
    effects = {cell["question"] for cell in cells if cell["value"] is not None}
    assert effects == {f"effect of block.{k}" for k in range(3)}
    assert all(cell["low"] <= cell["value"] <= cell["high"] for cell in cells if cell["n"])
    said = out_of(capsys, "measure", run.name, *home)
    assert "effect of block.1" in said and "effect of h" not in said
