"""U-Nets that take more than x_t (inpainting, InstructPix2Pix): run as their own pipelines run
them where no picture is given.
"""

import json

import diffusers
import numpy as np
import pytest
import torch
from kinds import BESIDE, save_beside, save_kind
from tiny import drain

from hcache.cards import default_spec
from hcache.directions.naive import naive_direction
from hcache.edits.render import render_moved
from hcache.errors import ModelError
from hcache.extraction.run import extract
from hcache.models.loading import load_anatomy, load_model
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise
from hcache.sampling.noise import start_noise
from hcache.specs import Conditioning

GIVEN = Conditioning(prompts=("a dog",), negative_prompt="a cat", guidance=3)
SEEDS, STEPS = [4, 5], 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    at = tmp_path_factory.mktemp("beside")
    return {name: save_beside(name, at / name) for name in BESIDE}


def by_its_pipeline(name, folder, model):
    """The pictures of the pipeline itself, with nothing of a picture left to see.

    The inpainting pipeline is given a mask over all, and for the masked picture the mean of what
    the autoencoder makes of grey, from which it would draw. InstructPix2Pix is given latents of 0.
    """
    pipeline = getattr(diffusers, name).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(model.scheduler.config)
    grey = model.codec.encode(torch.zeros(1, 3, 16, 16))
    if "Inpaint" in name:
        more = {
            "image": torch.zeros(2, 3, 16, 16),
            "mask_image": torch.ones(2, 1, 16, 16),
            "masked_image_latents": grey.expand(2, -1, -1, -1),
            "height": 16,
            "width": 16,
            "strength": 1.0,
        }
    else:
        more = {"image": torch.zeros(2, 4, 8, 8), "image_guidance_scale": 1.5}
        more |= {"height": 16, "width": 16} if "XL" in name else {}
    return pipeline(
        list(GIVEN.prompts) * 2,
        negative_prompt=[GIVEN.negative_prompt] * 2,
        latents=start_noise(SEEDS, model.anatomy.x),
        num_inference_steps=STEPS,
        guidance_scale=GIVEN.guidance,
        output_type="np",
        **more,
    ).images


@pytest.mark.parametrize("name", BESIDE)
@torch.no_grad()
def test_pictures_are_those_of_its_own_pipeline_without_a_picture(name, saved, caplog):
    model = load_model(str(saved[name]))
    assert f"is a {name}" in caplog.text and "draws from text alone" in caplog.text
    assert load_anatomy(str(saved[name])) == model.anatomy and model.anatomy.x == (4, 8, 8)
    *_, last = denoise(model, SEEDS, STEPS, conditioning=GIVEN)
    ours = (model.codec.decode(last.x_next) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    theirs = by_its_pipeline(name, saved[name], model)
    assert theirs.std() > 0.01 and np.abs(theirs[0] - theirs[1]).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@torch.no_grad()
def test_halves_are_bit_equal_and_what_is_beside_matters(saved):
    model = load_model(str(saved["StableDiffusionInpaintPipeline"]))
    x = start_noise(SEEDS, model.anatomy.x)
    condition = model.condition(GIVEN, 2).branches["cond"]
    below = condition.beside
    assert below.shape == (2, 5, 8, 8) and bool((below[:, :1] == 1).all()) and below.std() > 0.01
    whole = model.network(torch.cat([x, below], 1), 500, condition.text).sample
    assert torch.equal(model.decode(model.encode(x, 500, condition), 500, condition), whole)
    zeros = model.network(torch.cat([x, 0 * below], 1), 500, condition.text).sample
    assert (whole - zeros).abs().max() > 0.01


def test_it_is_extracted_and_edited_like_any_other(saved, tmp_path):
    folder = saved["StableDiffusionInpaintPipeline"]
    spec = default_spec(str(folder), samples=4, steps=2, conditioning=GIVEN)
    model = load_model(str(folder))
    run = extract(model, spec, tmp_path)
    assert run.complete and run.matrix("h", 1).std(0).max() > 0
    whole = Window(first=0, last=1)
    direction = naive_direction(run, [0, 3])
    _, pictures = drain(render_moved(model, run, [1, 1], direction, [0.0, 8.0], whole, False))
    assert np.abs(pictures[0].astype(int) - run.images[1]).max() <= 1
    assert np.abs(pictures[1].astype(int) - run.images[1]).max() > 1


def test_the_offset_of_its_steps_is_its_pipelines(tmp_path):
    """Inpainting's pipeline sets it, and InstructPix2Pix's does not."""
    for name, offset in (
        ("StableDiffusionInpaintPipeline", 1),
        ("StableDiffusionInstructPix2PixPipeline", 0),
    ):
        at = save_beside(name, tmp_path / name)
        file = at / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"steps_offset": 0}))
        assert load_model(str(at)).scheduler.config.steps_offset == offset
        its = getattr(diffusers, name).from_pretrained(at).scheduler.config.steps_offset
        assert its == offset


@pytest.mark.parametrize(
    ("name", "as_named", "words"),
    [
        ("StableDiffusionInpaintPipeline", "StableDiffusionPipeline", "inpainting: a mask"),
        ("StableDiffusionInstructPix2PixPipeline", "StableDiffusionPipeline", "InstructPix2Pix"),
        ("StableDiffusionXLInpaintPipeline", "StableDiffusionXLPipeline", "inpainting: a mask"),
        ("StableDiffusionInstructPix2PixPipeline", "MarigoldDepthPipeline", "depth of a picture"),
        ("StableDiffusionInpaintPipeline", "StableDiffusionInstructPix2PixPipeline", "expected 8"),
    ],
)
def test_channels_that_its_named_pipeline_does_not_give_are_refused(
    name, as_named, words, saved, tmp_path
):
    import shutil

    at = shutil.copytree(saved[name], tmp_path / "m")
    index = json.loads((at / "model_index.json").read_text())
    (at / "model_index.json").write_text(json.dumps(index | {"_class_name": as_named}))
    for load in (load_anatomy, load_model):
        with pytest.raises(ModelError, match=words) as caught:
            load(str(at))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["StableDiffusionInstructPix2PixPipeline"])
def test_a_plain_network_under_an_editing_pipeline_is_refused(name, tmp_path):
    at = save_kind("SD", tmp_path / "m")
    index = json.loads((at / "model_index.json").read_text())
    (at / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
    with pytest.raises(ModelError, match="4 channels in and 4 out.*expected 8 in"):
        load_anatomy(str(at))
