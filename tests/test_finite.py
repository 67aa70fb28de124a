"""What is not finite stops an extraction, which says where it was, and keeps what it had."""

import dataclasses

import pytest
import torch
from kinds import save_kind
from tiny import make_unet, save_pipeline

from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.errors import ModelError
from hcache.extraction.finite import Finite
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.sampling.loop import denoise
from hcache.specs import Conditioning


class Spoilt:
    """A model that gives NaN in one tensor of one sample, from a call on."""

    def __init__(self, site, row, calls):
        self.site, self.row, self.calls = site, row, calls

    def __call__(self, trace):
        def spoil(model, x, t, condition, *more):
            features, output = trace(model, x, t, condition, *more)
            self.calls -= 1
            if self.calls < 0 and len(x) > self.row:
                tensor = output if self.site == "output" else features[self.site]
                tensor[self.row, -1, -1, -1] = float("inf")
            return features, output

        return spoil


@pytest.mark.parametrize(
    ("site", "named"),
    [("h", "h"), ("skip.2.1", "skip.2.1"), ("skip.3.0", "skip.3.0"), ("output", "eps")],
)
def test_it_stops_with_site_step_and_sample_and_keeps_what_is_committed(
    tiny_model, tiny_spec, tmp_path, monkeypatch, site, named
):
    """Whether the site is stored or not: of skip.3 only means are, of skip.2 nothing here."""
    spec = dataclasses.replace(tiny_spec, store={"h": "full", "skip.3": "pooled"})
    spoilt = Spoilt(
        site, 2, calls=4 + 1
    )  # the first shard takes 4 steps, and the second one is whole
    monkeypatch.setattr(type(tiny_model), "trace", spoilt(type(tiny_model).trace))
    with pytest.raises(
        ModelError, match=rf"^{named} of sample 7 is not finite at step 1 \(t = 500\)"
    ):
        extract(tiny_model, spec, tmp_path)
    monkeypatch.undo()
    kept = open_run(spec.name, tmp_path)
    assert len(kept) == 5 and not list(kept.folder.rglob("*partial*"))
    assert len(extract(tiny_model, spec, tmp_path)) == 12


def test_a_picture_that_is_not_finite_is_never_black(tiny_model):
    x = torch.zeros(3, 3, 16, 16)
    x[1, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError, match="picture of sample 8 is not finite"):
        tiny_model.to_images(x, [7, 8, 9])
    with pytest.raises(ModelError, match="row 1"):
        tiny_model.to_images(x)


def test_a_network_that_overflows_half_precision_is_told_what_to_do(tmp_path):
    unet = make_unet()
    unet.conv_in.weight.mul_(1e6)
    folder = save_pipeline(tmp_path / "large", unet)
    spec = default_spec(str(folder), samples=2, steps=2, dtype="float16")
    with pytest.raises(ModelError, match=r"skip\.3\.1 of sample 0 .*step 0.*bfloat16"):
        extract(load_model(str(folder), dtype="float16"), spec, tmp_path)
    assert (
        len(
            extract(
                load_model(str(folder)), default_spec(str(folder), samples=2, steps=2), tmp_path
            )
        )
        == 2
    )


def test_everything_of_a_step_is_looked_at(tiny_model):
    """Each tensor alone, with one value of one sample that is not finite."""
    step = next(denoise(tiny_model, [0, 1], 3))
    names = [name for name, _ in step.features.items()]
    assert len(names) > 6
    clean = Finite()
    clean.note_step(step)
    clean.check([0, 1], "float32")
    for name in [*names, "x_t", "eps", "x_0", "x_next"]:

        def spoil(tensor):
            tensor = tensor.clone()
            tensor[1, 0, 0, 0] = float("nan")
            return tensor

        if name in names:
            harmed = dataclasses.replace(
                step,
                features=step.features.map(lambda n, t, name=name: spoil(t) if n == name else t),
            )
        else:
            harmed = dataclasses.replace(step, **{name: spoil(getattr(step, name))})
        found = Finite()
        found.note_step(harmed)
        with pytest.raises(ModelError, match="of sample 1 "):
            found.check([0, 1], "float32")


def test_large_values_of_half_precision_are_finite():
    """Their sum is not one in half precision."""
    large = torch.full((1, 8, 8, 8), 6e4, dtype=torch.float16)
    assert torch.isinf(large.sum()), "the test is of what it says"
    found = Finite()
    found.note("h", "step 0", large)
    assert found.check([0], "float16") is None
    found.note("h", "step 1", large * 2)
    with pytest.raises(ModelError, match="h of sample 7 is not finite at step 1"):
        found.check([7], "float16")


@pytest.mark.parametrize("upcast", [True, False, None])
def test_an_autoencoder_computes_in_the_precision_that_its_configuration_asks_for(tmp_path, upcast):
    """``force_upcast``: in float32 beside a network in half precision; left out, it is what
    diffusers takes it for.
    """
    import json

    folder = save_kind("SDXL", tmp_path / "xl")
    path = folder / "vae" / "config.json"
    config = json.loads(path.read_text()) | {"force_upcast": upcast}
    if upcast is None:
        del config["force_upcast"]
    path.write_text(json.dumps(config))
    for dtype in ("float16", "bfloat16"):
        model = load_model(str(folder), dtype=dtype)
        expected = torch.float32 if dtype == "float16" and upcast is not False else model.dtype
        assert model.codec.network.dtype == expected and model.dtype == getattr(torch, dtype)


def test_an_autoencoder_that_overflows_half_precision_gives_the_pictures_of_single(tmp_path):
    from diffusers import StableDiffusionXLPipeline

    folder = save_kind("SDXL", tmp_path / "xl")
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.vae.decoder.conv_in.weight.data.mul_(3e5)
    pipeline.save_pretrained(folder)
    pictures = {}
    for dtype in ("float32", "float16"):
        model = load_model(str(folder), dtype=dtype)
        *_, last = denoise(model, [0], 2, conditioning=Conditioning(prompts=("a dog",)))
        pictures[dtype] = model.to_images(last.x_next).float()
    assert pictures["float32"].std() > 10
    assert (pictures["float32"] - pictures["float16"]).abs().mean() < 4
