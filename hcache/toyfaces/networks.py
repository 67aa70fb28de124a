"""The shipped networks: U-Nets of three published kinds, with schedules and folders."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMPipeline, LDMPipeline, UNet2DModel, VQModel

LATENT_CODES = 2048


def ddpm_unet() -> UNet2DModel:
    """Makes a U-Net with Stable Diffusion's structure.

    It has four levels of two resnets, and 12 skips in 4 groups of 3; h is (128, 8, 8). The network
    is narrow where the picture is large and wide at the bottleneck. This is cheap, and forces
    global properties to be decided there. There are few norm groups: one group per channel at the
    outer level would remove each channel's mean, and with it the colours.

    References:
        Denoising Diffusion Probabilistic Models (Ho, Jain, Abbeel, 2020),
        https://arxiv.org/abs/2006.11239
    """
    return _ddpm((32, 48, 96, 128))


def dogs_unet() -> UNet2DModel:
    """Makes the DDPM of drawn dogs.

    It is the DDPM of faces with fewer channels; h is (96, 8, 8).
    """
    return _ddpm((24, 48, 64, 96))


def _ddpm(widths: tuple[int, ...]) -> UNet2DModel:
    return UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        attention_head_dim=32,
        norm_num_groups=4,
    )


def adm_unet() -> UNet2DModel:
    """Makes a U-Net with guided diffusion's structure; h is (128, 8, 8).

    It has scale-shift norm, resnets that resample, and learned variance. Each level has one resnet
    and one that resamples: 8 skips in 4 groups of 2. The last three of the six
    outputs interpolate between the bounds of the variance.

    References:
        Diffusion Models Beat GANs on Image Synthesis (Dhariwal, Nichol, 2021),
        https://arxiv.org/abs/2105.05233
    """
    return UNet2DModel(
        sample_size=64,
        in_channels=3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(32, 48, 96, 128),
        down_block_types=("ResnetDownsampleBlock2D",) * 2
        + ("AttnDownBlock2D", "ResnetDownsampleBlock2D"),
        up_block_types=("ResnetUpsampleBlock2D", "AttnUpBlock2D") + ("ResnetUpsampleBlock2D",) * 2,
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=32,
        norm_num_groups=4,
        attn_norm_num_groups=4,
        norm_eps=1e-5,
        flip_sin_to_cos=True,
        freq_shift=0,
    )


def ldm_unet() -> UNet2DModel:
    """Makes a U-Net with latent diffusion's structure on 16 x 16 latents.

    h is (128, 4, 4). The network has three levels of two resnets, with attention at the inner two:
    9 skips in 3 groups of 3. With a fourth level of 2 x 2 places, the network learned to ignore its
    innermost level, and no edit of h changed anything.

    References:
        High-Resolution Image Synthesis with Latent Diffusion Models (Rombach, Blattmann, Lorenz,
        Esser, Ommer, 2021), https://arxiv.org/abs/2112.10752
    """
    return UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(48, 96, 128),
        down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * 2,
        up_block_types=("AttnUpBlock2D",) * 2 + ("UpBlock2D",),
        attention_head_dim=32,
        norm_num_groups=8,
    )


def vq_autoencoder() -> VQModel:
    """Makes an autoencoder of 64 x 64 pictures, with a codebook.

    Latents have 3 channels of 16 x 16, quantised. A side is a quarter of the picture's, as in
    ldm-celebahq-256.
    """
    return VQModel(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=3,
        sample_size=64,
        num_vq_embeddings=LATENT_CODES,
        norm_num_groups=4,
        scaling_factor=1.0,
    )


def pixel_scheduler() -> DDIMScheduler:
    """Returns the schedule of the models on pixels: linear betas, predicted v.

    The predicted x_0 is clipped at 1.5. Clipping at 1 makes its mean colour greyer while
    it is still noisy.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        timestep_spacing="trailing",
        clip_sample_range=1.5,
        prediction_type="v_prediction",
    )


def latent_scheduler() -> DDIMScheduler:
    """Returns the schedule of latent diffusion.

    Latents are not clipped, because they have no fixed range.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        timestep_spacing="trailing",
        clip_sample=False,
    )


@torch.no_grad()
def standardise(network: VQModel, pictures: torch.Tensor) -> torch.Tensor:
    """Folds a scale and a shift into the autoencoder.

    Afterwards each channel of its latents has mean 0 and deviation 1.

    Args:
        network: The autoencoder. It is changed in place. What it reconstructs without quantising
            stays the same.
        pictures: Pictures (n, 3, 64, 64) in [-1, 1], to take the moments from.

    Returns:
        The latents of the pictures afterwards, (n, 3, 16, 16).
    """
    latents = network.encode(pictures).latents
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out_of = network.quant_conv, network.post_quant_conv
    into.weight.div_(std.view(-1, 1, 1, 1))
    into.bias.sub_(mean).div_(std)
    out_of.bias.add_((out_of.weight * mean.view(1, -1, 1, 1)).sum((1, 2, 3)))
    out_of.weight.mul_(std.view(1, -1, 1, 1))
    return network.encode(pictures).latents


def write_pixel_folder(unet: UNet2DModel, folder: Path) -> None:
    """Writes a diffusers folder with float16 weights.

    The dtype of the computation is chosen when the folder is loaded.
    """
    DDPMPipeline(unet=unet.half(), scheduler=pixel_scheduler()).save_pretrained(folder)


def write_latent_folder(unet: UNet2DModel, network: VQModel, folder: Path) -> None:
    """Writes the folder of a latent model, with its autoencoder in vqvae/."""
    LDMPipeline(
        vqvae=network.half(), unet=unet.half(), scheduler=latent_scheduler()
    ).save_pretrained(folder)
