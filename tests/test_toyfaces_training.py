"""What the shipped networks are trained on and how: the losses against their definitions, the folders as they load."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import VQModel
from torch.distributions import Normal, kl_divergence

from hcache.models.loading import load_model
from hcache.sampling.loop import denoise
from hcache.toyfaces import losses, networks, train
from hcache.toyfaces.drawing import draw_dataset


@pytest.fixture(scope="module")
def drawings():
    images, factors = draw_dataset(range(8))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(factors)


def test_the_variational_bound_is_the_divergence_of_two_normals():
    """Against the posterior written out with α and β (Ho et al. 2020, equations 6 and 7)."""
    rng = torch.Generator().manual_seed(0)
    alpha_bar = networks.pixel_scheduler().alphas_cumprod
    t = torch.tensor([1, 10, 400, 999])
    x_0 = 2 * torch.rand(4, 3, 8, 8, generator=rng) - 1
    noise, guess = torch.randn(x_0.shape, generator=rng), 2 * torch.rand(x_0.shape, generator=rng) - 1
    v = 2 * torch.rand(x_0.shape, generator=rng) - 1

    def at(values):
        return values[t].view(-1, 1, 1, 1).double()

    bar, before = at(alpha_bar), at(torch.cat([torch.ones(1), alpha_bar[:-1]]))
    alpha = bar / before
    x_t = bar.sqrt() * x_0 + (1 - bar).sqrt() * noise
    eps = (x_t - bar.sqrt() * guess) / (1 - bar).sqrt()
    variance = (1 - before) / (1 - bar) * (1 - alpha)

    def mean(of):
        return (before.sqrt() * (1 - alpha) * of + alpha.sqrt() * (1 - before) * x_t) / (1 - bar)

    learned = (((v + 1) / 2) * (1 - alpha).log() + ((1 - v) / 2) * variance.log()).exp()
    wanted = kl_divergence(Normal(mean(x_0), variance.sqrt()), Normal(mean(guess), learned.sqrt())).mean((1, 2, 3))
    found = losses.variational_loss(eps.float(), v, x_0, x_t.float(), t, alpha_bar)
    np.testing.assert_allclose(found * np.log(2), wanted, rtol=2e-2)


def test_the_bound_trains_the_variance_and_leaves_the_noise_alone(drawings):
    """The gradient of the six outputs: with the bound, that of ε is what it is without."""
    alpha_bar, found = networks.pixel_scheduler().alphas_cumprod, {}
    for channels in (3, 6):
        out = torch.zeros(8, channels, 64, 64, requires_grad=True)
        loss = losses.diffusion_loss(lambda *_, out=out, **__: (out,), alpha_bar)
        loss(*drawings, torch.Generator().manual_seed(0)).backward()
        found[channels] = out.grad
    torch.testing.assert_close(found[6][:, :3], found[3])
    assert found[6][:, 3:].abs().max() > 0


def test_standardised_latents_decode_to_the_same_pictures(drawings):
    torch.manual_seed(0)
    network = networks.vq_autoencoder().eval()
    pictures = losses.as_signed(drawings[0])
    with torch.no_grad():
        before = network.decode(network.encode(pictures).latents, force_not_quantize=True).sample
        latents = networks.standardise(network, pictures)
        after = network.decode(network.encode(pictures).latents, force_not_quantize=True).sample
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(3), rtol=1e-4, atol=0)


def test_a_latent_model_trains_into_a_folder_that_loads_like_any_other(drawings, tmp_path):
    torch.manual_seed(0)
    plan = train.Training(steps=4, batch=2, learning_rate=1e-3, warmup=2)
    train.train_latent(drawings, plan, replace(plan, steps=2), tmp_path, tmp_path / "out", "cpu")
    model = load_model(str(tmp_path / "out"))
    assert isinstance(model.codec.network, VQModel) and model.anatomy.x == (3, 16, 16)
    *_, last = denoise(model, [0], 2)
    assert model.to_images(last.x_next).shape == (1, 64, 64, 3)
    codes = model.codec.network.quantize.embedding.weight
    assert codes.shape == (networks.LATENT_CODES, 3) and codes.std() > 0.5, "codes start as latents, not near 0"


@pytest.mark.parametrize(
    ("unet", "groups", "h"),
    [
        (networks.ddpm_unet, [3, 3, 3, 3], (128, 8, 8)),
        (networks.adm_unet, [2, 2, 2, 2], (128, 8, 8)),
        (networks.ldm_unet, [3, 3, 3, 3], (128, 2, 2)),
    ],
)
def test_the_three_structures(unet, groups, h):
    from hcache.models.anatomy import anatomy_of_config

    anatomy = anatomy_of_config(dict(unet().config), 1, None)
    assert [len(group) for group in anatomy.skips] == groups and anatomy.h == h
