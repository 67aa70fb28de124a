"""Negative-prompt inversion: guidance does not spoil it; its error stands beside plain DDIM's."""

import json

import numpy as np
import pytest
import torch
from kinds import save_kind
from PIL import Image

from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import UsageError
from hcache.extraction.plain_inversion import plain_again
from hcache.extraction.shard import reconstruction_error
from hcache.models.loading import load_model
from hcache.sampling.inversion import invert
from hcache.sampling.loop import denoise
from hcache.specs import Conditioning

PROMPT, GUIDANCE, STEPS = "a face", 7.5, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("npi") / "sd"
    save_kind("SD", folder)
    return load_model(str(folder)), folder


@torch.no_grad()
def again(model, x, conditioning):
    *_, noise = invert(model, x, STEPS, conditioning)
    *_, last = denoise(model, steps=STEPS, conditioning=conditioning, x_t=noise)
    return noise, last.x_next


def test_under_guidance_it_is_the_inversion_without_guidance(model):
    network, _ = model
    x = torch.randn(2, *network.anatomy.x, generator=torch.Generator().manual_seed(0))
    guided = Conditioning(prompts=(PROMPT,), guidance=GUIDANCE)
    noise, found = again(network, x, guided.inverted_by_prompt())
    unguided_noise, unguided = again(network, x, Conditioning(prompts=(PROMPT,)))
    plain_noise, plain = again(network, x, guided)
    near = float((noise - unguided_noise).norm() / unguided_noise.norm())
    far = float((plain_noise - unguided_noise).norm() / unguided_noise.norm())
    assert near < 1e-4 < 1e-2 < far
    error, plain_off = ((each - x).square().mean().sqrt() for each in (found, plain))
    assert error < plain_off, "guidance amplifies the error of plain inversion"
    torch.testing.assert_close(found, unguided, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"prompts": (PROMPT,)}, "guidance above 1"),
        ({"guidance": 3.0}, "one prompt for all pictures, got 0"),
        ({"guidance": 3.0, "prompts": ("a", "b")}, "one prompt for all pictures, got 2"),
        ({"guidance": 3.0, "prompts": ("a",), "negative_prompt": "b"}, "got 'b' for that"),
    ],
)
def test_what_it_cannot_be_is_refused(given, why):
    with pytest.raises(UsageError, match=why):
        Conditioning(**given).inverted_by_prompt()


def test_the_command_says_both_errors(model, tmp_path, capsys):
    network, folder = model
    height, width, _ = network.anatomy.image
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    asked = ["invert", str(folder), *map(str, paths), "--prompt", PROMPT, "--steps", str(STEPS)]
    asked += ["--guidance", str(GUIDANCE), "--inversion", "negative-prompt"]
    home = ["--home", str(tmp_path / "home")]
    assert main([*asked, *home, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    run = open_run(next((tmp_path / "home" / "runs").iterdir()))
    assert run.spec.conditioning.negative_prompt == PROMPT
    originals = np.stack([run.original(i) for i in range(2)])
    own = reconstruction_error(originals, run.images)
    np.testing.assert_allclose(told["reconstruction_error"], own, rtol=1e-6)
    kept = run.labels["inversion"]["plain_reconstruction_error"]
    np.testing.assert_allclose(told["plain_reconstruction_error"], kept, rtol=1e-6)
    x_0 = network.codec.encode(torch.from_numpy(originals).permute(0, 3, 1, 2) / 127.5 - 1)
    *_, last = plain_again(network, run.spec, x_0, run.spec.conditioning)
    fresh = reconstruction_error(originals, network.to_images(last).numpy())
    np.testing.assert_allclose(fresh, kept, rtol=1e-3)
    assert main([*asked, *home]) == 0, "again: nothing is computed"
    assert "of plain DDIM inversion" in capsys.readouterr().out
