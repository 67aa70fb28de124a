"""Other places of a U-Net than h and skips: outputs of blocks and the mid attention, read, stored
and swapped.
"""

import dataclasses

import numpy as np
import pytest
import torch
from kinds import save_kind
from test_cli import failure, json_of
from tiny import drain, make_unet, model_of

from hcache import figures
from hcache.cache.plan import make_plan
from hcache.cache.reading import open_run
from hcache.edits.compose import Chain, PerRow
from hcache.edits.executor import Change, Executor
from hcache.edits.swap import Swap, SwapEdit
from hcache.errors import UnknownSiteError
from hcache.extraction.rerun import rerun
from hcache.extraction.run import extract
from hcache.measures.declared.swaps import swap_map
from hcache.measures.driver import Driver, no_readings
from hcache.measures.evidence import Evidence
from hcache.measures.swapping import Pairs, swaps
from hcache.models.loading import load_model
from hcache.models.taps import Taps
from hcache.recipes.edits import DonorRef
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise
from hcache.specs import Anatomy

SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def model():
    return model_of(make_unet())


@pytest.fixture(scope="module")
def run(tiny_model, tiny_spec, tmp_path_factory):
    store = {"h": "full", "down.0": "full", "mid.attn": "full", "up.*": "pooled"}
    spec = dataclasses.replace(tiny_spec, store=store, samples=8)
    return extract(tiny_model, spec, tmp_path_factory.mktemp("places home"))


def x_of(n=2):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(0))


def whole(steps=3):
    return Window(first=0, last=steps - 1)


def test_an_anatomy_has_all_places_with_their_shapes(model):
    anatomy = model.anatomy
    blocks = ("down.0", "down.1", "down.2", "mid.attn", "up.0", "up.1", "up.2")
    assert tuple(place for place in anatomy.places if ".resnet." not in place) == blocks
    assert anatomy.places[:2] == ("down.0.resnet.0", "down.0"), "in the order of computation"
    middle = ("mid.resnet.0", "mid.attn", "mid.resnet.1", "up.0.resnet.0")
    assert anatomy.places[6:10] == middle and anatomy.shape("mid.resnet.1") == anatomy.h
    assert not set(anatomy.places) & set(anatomy.sites), "swaps of all sites mean what they meant"
    assert anatomy.shape("mid.attn") == anatomy.h and anatomy.shape("up.2")[1:] == SHAPE[1:]
    assert anatomy.members("up.1") == ("up.1",)
    with pytest.raises(UnknownSiteError, match="up.9"):
        anatomy.members("up.9")


def test_reading_places_changes_nothing_and_reads_what_the_blocks_put_out(model):
    """Held against hooks, which hcache itself has none of."""
    heard = {}
    unet = model.network

    def listen(name):
        def hook(_, __, out):
            heard.setdefault(name, out[0] if isinstance(out, tuple) else out)

        return hook

    modules = {f"down.{k}": block for k, block in enumerate(unet.down_blocks)}
    modules |= {"mid.attn": unet.mid_block.attentions[-1]}
    modules |= {f"up.{k}": block for k, block in enumerate(unet.up_blocks)}
    handles = [each.register_forward_hook(listen(name)) for name, each in modules.items()]
    with torch.no_grad():
        expected = unet(x_of(), 5).sample
        for handle in handles:
            handle.remove()
        features, output = model.trace(x_of(), 5, places=model.anatomy.places)
        plain, without = model.trace(x_of(), 5)
    assert torch.equal(output, expected) and torch.equal(without, expected) and not plain.others
    assert list(features.others) == list(model.anatomy.places)
    for name in modules:
        tensor = features.others[name]
        assert torch.equal(tensor, heard[name]), name
    assert torch.equal(features.h, plain.h)


@pytest.mark.parametrize("place", ["down.0", "down.2", "mid.attn", "up.0", "up.2"])
def test_an_identity_at_a_place_changes_nothing_and_another_change_does(model, place):
    plain = list(denoise(model, [1, 2], 3))

    class At:
        def __init__(self, change):
            self.at_places = {place: lambda moment: lambda x, rows: change(x)}

        def __call__(self, features, moment):
            return features

    for same in (lambda x: x, torch.clone, lambda x: x * 1):
        for step, other in zip(plain, denoise(model, [1, 2], 3, edit=At(same)), strict=True):
            assert torch.equal(step.x_next, other.x_next)
    moved = list(denoise(model, [1, 2], 3, edit=At(lambda x: x + 1)))
    assert not torch.equal(moved[0].x_next, plain[0].x_next)
    assert torch.equal(moved[0].features.h, plain[0].features.h), "features are from before"
    apart = next(denoise(model, [1, 2], 3, edit=At(lambda x: x + 1), asymmetric=True))
    assert torch.equal(apart.eps, plain[0].eps) and not torch.equal(apart.x_0, plain[0].x_0)


def test_a_change_acts_on_what_is_computed_after_it(model):
    with torch.no_grad():
        plain = model.encode(x_of(), 5)
        low = model.encode(x_of(), 5, taps=Taps(changes={"down.0": lambda x, rows: x + 1}))
        mid = model.encode(x_of(), 5, taps=Taps(changes={"mid.attn": lambda x, rows: x + 1}))
    assert torch.equal(low["skip.3.1"], plain["skip.3.1"]) and not torch.equal(low.h, plain.h)
    assert not torch.equal(low["skip.1.0"], plain["skip.1.0"])
    assert torch.equal(mid["skip.1.0"], plain["skip.1.0"]) and not torch.equal(mid.h, plain.h)


def test_rows_of_a_batch_have_edits_of_their_own(model):
    class Add:
        def __init__(self, amount):
            self.at_places = {
                "up.0": lambda moment: (lambda x, rows: x + amount) if amount else None
            }

        def __call__(self, features, moment):
            return features

    both = next(denoise(model, [1, 2], 3, edit=PerRow([Add(0), Chain([Add(1), Add(2)])])))
    plain = next(denoise(model, [1, 2], 3))
    alone = next(denoise(model, [2], 3, edit=Add(3)))
    assert torch.equal(both.x_0[0], plain.x_0[0])
    torch.testing.assert_close(both.x_0[1], alone.x_0[0], rtol=1e-4, atol=1e-5)


def test_places_are_stored_planned_and_read(run, tiny_model):
    assert run.stored_sites == ("h", "down.0", "mid.attn", "up.0", "up.1", "up.2")
    again = open_run(run.name, run.home)
    assert again.anatomy == tiny_model.anatomy and again.spec == run.spec
    assert run.matrix("up.0", 1).shape == (8, run.anatomy.shape("up.0")[0])
    row = run.features(3, 2).others
    assert set(row) == {"down.0", "mid.attn"} and row["down.0"].shape == run.anatomy.shape("down.0")
    x = torch.from_numpy(run.x(3, 2))[None]
    with torch.inference_mode():
        fresh = tiny_model.trace(x, run.timesteps[2], places=("down.0", "up.0"))[0].others
    np.testing.assert_allclose(row["down.0"], fresh["down.0"][0].numpy(), atol=5e-3)
    pooled = run.matrix("up.0", 2)[run.position(3)]
    np.testing.assert_allclose(pooled, fresh["up.0"][0].mean((1, 2)).numpy(), atol=5e-3)
    parts = make_plan(run.spec, run.anatomy).parts
    shape = run.anatomy.shape("mid.attn")
    assert parts["mid.attn"] == 8 * 4 * 2 * np.prod(shape)


def test_places_are_named_by_the_commands(run, capsys, tiny_folder):
    found = json_of(capsys, "anatomy", str(tiny_folder))
    assert {"h", "down.0", "mid.attn", "up.2"} <= set(found["sites"])
    said = failure(capsys, 2, "estimate", str(tiny_folder), "--store", "up.7")
    assert "no site 'up.7'" in said
    found = json_of(
        capsys, "estimate", str(tiny_folder), "--store", "h", "--store", "down.*=pooled"
    )
    assert "down.1" in str(found) and "up.1" not in str(found)


def test_a_run_of_before_says_nothing_of_them_and_stays_as_it_was(tiny_spec):
    old = Anatomy(x=(3, 8, 8), image=(8, 8, 3), h=(4, 2, 2))
    assert old.all_sites == ("h",) and old.places == ()
    assert tiny_spec.digest == dataclasses.replace(tiny_spec, store={**tiny_spec.store}).digest


def test_a_swap_at_every_place_takes_the_donors_and_its_own_changes_nothing(run, tiny_model):
    executor = Executor(tiny_model, run)
    plain = list(executor.steps([1], Change(), 0))
    for place in run.anatomy.places:
        edit = SwapEdit(
            sites=(place,), donor=DonorRef(run=run.name, sample=2), alpha=1.0, window=whole(4)
        )
        swapped = list(executor.steps([1], executor.change([[edit]]), 0))
        assert not torch.equal(swapped[-1].x_next, plain[-1].x_next), place
        latest = {}

        class Listen:
            at_places = {place: lambda m, v=latest: lambda x, rows: v.setdefault(m.index, x)}

            def __call__(self, features, moment):
                return features

        list(executor.steps([1], Change(edit=Listen()), 0))
        own = Swap([place], lambda m, p=place, v=latest: {p: v[m.index]}, 1.0, whole(4))
        same = list(executor.steps([1], Change(edit=own), 0))
        assert torch.equal(same[-1].x_next, plain[-1].x_next), place
        none = Swap([place], lambda m: {}, 0.0, whole(4))
        idle = list(executor.steps([1], Change(edit=none), 0))
        assert torch.equal(idle[-1].x_next, plain[-1].x_next), place


def test_the_last_block_is_nearly_the_picture(run, tiny_model):
    """A swap of the last output at all steps makes the donor's noise predictions: x moves as its.

    A preview shows the donor's prediction of x_0 from the recipient's x_t.
    """
    executor = Executor(tiny_model, run)
    edit = SwapEdit(
        sites=("up.2",), donor=DonorRef(run=run.name, sample=2), alpha=1.0, window=whole(4)
    )
    start = executor.start(1, 1)
    shown = executor.preview(start, [edit])
    assert shown.shape == start.predicted.shape and (shown != start.predicted).any()


def test_the_swap_map_has_a_row_a_site(run, tiny_model, tmp_path, capsys):
    out = tmp_path / "map.svg"
    drawing = ("figure", "swaps", run.name, "--out", str(out), "--home", str(run.home))
    assert "no swaps were measured" in failure(capsys, 2, *drawing)
    driver = Driver(tiny_model, run, no_readings, "")
    pairs = Pairs.draw(run.sample_ids.tolist(), 4)
    work = swaps(driver, pairs, whole(4), ("h", "down.0", "mid.attn", "up.2"), repeats=50)
    _, records = drain(work)
    for record in records.values():
        assert record.result["pairs"] == 4
    found = swap_map(Evidence(run))
    assert found.rows == ("down.0", "mid.attn", "h", "up.2") and "pixels" in found.columns
    assert "4 pairs" in json_of(capsys, *drawing)["caption"]
    assert {text.get_text() for text in figures.swap_map(found).ax.get_yticklabels()} == set(
        found.rows
    )


@pytest.mark.parametrize("kind", ["SD, v", "SDXL", "LDM"])
def test_every_kind_of_u_net_has_places(kind, tmp_path):
    loaded = load_model(str(save_kind(kind, tmp_path / kind)))
    assert "down.0" in loaded.anatomy.places and "up.0" in loaded.anatomy.places
    step = next(
        denoise(
            loaded,
            [1],
            2,
            places=loaded.anatomy.places,
            **({} if kind == "LDM" else {"conditioning": prompted()}),
        )
    )
    for place in loaded.anatomy.places:
        assert tuple(step.features[place].shape[1:]) == loaded.anatomy.shape(place), place


def prompted():
    from hcache.specs import Conditioning

    return Conditioning(prompts=("a face",), guidance=3.0)


def test_what_is_stored_of_places_is_what_is_computed_again(run, tiny_model):
    found = drain(rerun(tiny_model, run, [2]))[1]
    assert {"h", "x", "down.0", "mid.attn", "up.0"} <= set(found)
    assert all(each.largest <= each.tolerance for each in found.values())
