"""What the shipped networks are trained on and how: the losses against their definitions, the
folders as they load.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import VQModel
from tiny import ONE_LEVEL, make_unet
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
    noise, guess = (
        torch.randn(x_0.shape, generator=rng),
        2 * torch.rand(x_0.shape, generator=rng) - 1,
    )
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
    wanted = kl_divergence(
        Normal(mean(x_0), variance.sqrt()), Normal(mean(guess), learned.sqrt())
    ).mean((1, 2, 3))
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
    assert codes.shape == (networks.LATENT_CODES, 3) and codes.std() > 0.5, (
        "codes start as latents, not near 0"
    )


@pytest.mark.parametrize(
    ("unet", "groups", "h"),
    [
        (networks.ddpm_unet, [3, 3, 3, 3], (128, 8, 8)),
        (networks.adm_unet, [2, 2, 2, 2], (128, 8, 8)),
        (networks.ldm_unet, [3, 3, 3], (128, 4, 4)),
    ],
)
def test_the_three_structures(unet, groups, h):
    from hcache.models.anatomy import anatomy_of_config

    anatomy = anatomy_of_config(dict(unet().config), 1, None)
    assert [len(group) for group in anatomy.skips] == groups and anatomy.h == h


def velocity_network(images, alpha_bar, offset):
    """A network that knows the drawing, with an offset added to the right v."""
    x_0 = losses.as_signed(images)

    def network(x_t, t, return_dict):
        a = alpha_bar[t].view(-1, 1, 1, 1)
        noise = (x_t - a.sqrt() * x_0) / (1 - a).sqrt()
        return (a.sqrt() * noise - (1 - a).sqrt() * x_0 + offset,)

    return network


def test_the_right_velocity_has_no_loss_and_a_coarse_error_counts_by_its_own_noise(drawings):
    """An error of mean 0 over every square counts once; one that is the same everywhere counts
    again by the law.
    """
    alpha_bar = networks.pixel_scheduler().alphas_cumprod
    images = drawings[0]
    fine = 0.1 * (1 - 2 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2)).float().expand(
        8, 3, 64, 64
    )

    def loss_of(offset):
        network = velocity_network(images, alpha_bar, offset)
        return losses.velocity_loss(network, alpha_bar)(
            images, None, torch.Generator().manual_seed(0)
        ).item()

    assert loss_of(torch.zeros(1)) < 1e-6
    assert loss_of(fine) == pytest.approx(0.01, rel=1e-3)
    rng = torch.Generator().manual_seed(0)
    t = ((torch.arange(8) + torch.rand(8, generator=rng)) / 8 * 1000).long()
    counts = [
        share * (side**2 * alpha_bar[t] + (1 - alpha_bar[t]) / losses.COARSE_VARIANCE)
        for side, share in losses.COARSE.items()
    ]
    assert loss_of(torch.full((1,), 0.1)) == pytest.approx(
        0.01 * (1 + sum(counts)).mean().item(), rel=1e-3
    )


@pytest.mark.parametrize("from_weights", [False, True])
def test_a_pixel_model_trains_into_a_folder_that_says_what_it_predicts(
    drawings, tmp_path, monkeypatch, from_weights
):
    def make():
        return make_unet(base=ONE_LEVEL, sample_size=64).requires_grad_(True)

    monkeypatch.setitem(train.PIXELS, "ddpm", make)
    start = None
    if from_weights:
        networks.write_pixel_folder(make(), start := tmp_path / "start")
    plan = train.Training(steps=2, batch=2, learning_rate=1e-3, save_every=1)
    out = tmp_path / "out"
    train.train_pixels("ddpm", drawings, plan, plan, tmp_path, out, "cpu", start)
    assert load_model(str(out)).scheduler.config.prediction_type == "v_prediction"
    trained = {path.name for path in tmp_path.glob("*.pt")}
    assert trained == {"ddpm.pt"} if from_weights else {"ddpm.pt", "ddpm-epsilon.pt"}


def test_a_model_with_learned_variance_trains_it_on_v_too(drawings):
    network = make_unet(base=ONE_LEVEL, sample_size=64, out_channels=6).requires_grad_(True)
    loss = losses.velocity_loss(network, networks.pixel_scheduler().alphas_cumprod)
    loss(*(part[:4] for part in drawings), torch.Generator().manual_seed(0)).backward()
    learned = network.conv_out.weight.grad.flatten(1).norm(dim=1)
    assert (learned > 0).all()


def test_the_moving_average_follows_the_weights(drawings, tmp_path):
    """It did not where the weights were moved to another memory format after the average had
    referred to them.
    """
    network = make_unet(base=ONE_LEVEL, sample_size=64).train().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plan = train.Training(steps=3, batch=2, learning_rate=1e-2, warmup=1, ema=0.5)
    average = train.train(
        network,
        lambda m: losses.velocity_loss(m, networks.pixel_scheduler().alphas_cumprod),
        drawings,
        plan,
        tmp_path / "own.pt",
        "cpu",
    )
    name = "conv_in.weight"
    way, left = (
        (network.state_dict()[name] - before[name]).norm(),
        (network.state_dict()[name] - average[name]).norm(),
    )
    assert 0 < left < way
