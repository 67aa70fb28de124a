"""The options of guided-diffusion's scripts, and those of its published checkpoints.

The tensors of a checkpoint do not show the number of attention heads, the order of queries, keys
and values, or the noise schedule. The options of the original's ``script_util.py`` do. They have
the same names here. What tensors do show (widths, depth, attention, classes) may also be given, and
is then compared with the tensors.

References:
    https://github.com/openai/guided-diffusion, README and guided_diffusion/script_util.py
    https://github.com/openai/improved-diffusion, README and improved_diffusion/script_util.py
    https://github.com/jychoi118/P2-weighting, README
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import UsageError, did_you_mean

LINEAR, COSINE = "linear", "cosine"

WITHOUT_EFFECT = (
    "dropout",
    "use_fp16",
    "use_checkpoint",
    "use_kl",
    "timestep_respacing",
    "rescale_learned_sigmas",
    "sigma_small",
)
"""Options of training and of stochastic sampling. They have no effect here, and are accepted so
that a command line can be pasted.
"""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """guided-diffusion's options by their names.

    None means "not given"; so does -1, as in the original.
    """

    image_size: int | None = None
    num_channels: int | None = None
    num_res_blocks: int | None = None
    num_heads: int | None = None
    num_heads_upsample: int | None = None
    num_head_channels: int | None = None
    attention_resolutions: str | None = None
    channel_mult: str | None = None
    class_cond: bool | None = None
    learn_sigma: bool | None = None
    use_scale_shift_norm: bool | None = None
    resblock_updown: bool | None = None
    use_new_attention_order: bool | None = None
    diffusion_steps: int | None = None
    noise_schedule: str | None = None
    predict_xstart: bool | None = None
    rescale_timesteps: bool | None = None

    def __post_init__(self) -> None:
        for name in ("num_heads", "num_heads_upsample", "num_head_channels"):
            if getattr(self, name) == -1:
                object.__setattr__(self, name, None)
        for name in (
            "image_size",
            "num_channels",
            "num_res_blocks",
            "num_heads",
            "num_heads_upsample",
            "num_head_channels",
            "diffusion_steps",
        ):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.noise_schedule not in (None, LINEAR, COSINE):
            raise UsageError(
                f"noise_schedule must be {LINEAR} or {COSINE}, got {self.noise_schedule!r}"
            )

    def over(self, other: Flags) -> Flags:
        """Fills its missing options from another set.

        A number of heads here overrides that set's channels.
        """
        if self.num_heads is not None and self.num_head_channels is None:
            other = replace(other, num_head_channels=None)
        return replace(
            other,
            **{f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None},
        )

    def number(self, name: str) -> int:
        """Returns an option that is a number.

        The conversion needs it.

        Raises:
            UsageError: it is not given.
        """
        value = getattr(self, name)
        if value is None:
            raise UsageError(f"{name} must be given; expected a whole number, 1 or more")
        return value

    @property
    def given(self) -> Mapping[str, Any]:
        """The options that are given, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


def _guided(**more: Any) -> Flags:
    """Returns the options that all checkpoints of guided-diffusion's README share."""
    common: dict[str, Any] = {
        "attention_resolutions": "32,16,8",
        "diffusion_steps": 1000,
        "learn_sigma": True,
        "num_res_blocks": 2,
        "noise_schedule": LINEAR,
        "resblock_updown": True,
        "use_new_attention_order": False,
        "use_scale_shift_norm": True,
        "rescale_timesteps": False,
        "predict_xstart": False,
    }
    return Flags(**{**common, **more})


def _improved(**more: Any) -> Flags:
    """Returns the options of improved-diffusion, with the defaults of its script_util."""
    common: dict[str, Any] = {
        "attention_resolutions": "16,8",
        "class_cond": False,
        "diffusion_steps": 4000,
        "learn_sigma": True,
        "noise_schedule": COSINE,
        "num_channels": 128,
        "num_heads": 4,
        "num_res_blocks": 3,
        "resblock_updown": False,
        "use_new_attention_order": False,
        "use_scale_shift_norm": True,
        "rescale_timesteps": True,
        "predict_xstart": False,
    }
    return Flags(**{**common, **more})


_LSUN = _guided(image_size=256, class_cond=False, num_channels=256, num_head_channels=64)
_P2 = _guided(
    image_size=256,
    class_cond=False,
    num_channels=128,
    num_head_channels=64,
    num_res_blocks=1,
    attention_resolutions="16",
)
_OLD_BEDROOM = _improved(
    image_size=256,
    num_res_blocks=2,
    num_heads=1,
    use_scale_shift_norm=False,
    diffusion_steps=1000,
    attention_resolutions="16",
    noise_schedule=LINEAR,
    rescale_timesteps=False,
)
_SMALL = _improved(image_size=64)
_CIFAR = _improved(image_size=32)

PRESETS: dict[str, Flags] = {
    "64x64_diffusion": _guided(
        image_size=64,
        class_cond=True,
        noise_schedule=COSINE,
        num_channels=192,
        num_head_channels=64,
        num_res_blocks=3,
        use_new_attention_order=True,
    ),
    "128x128_diffusion": _guided(image_size=128, class_cond=True, num_channels=256, num_heads=4),
    "256x256_diffusion": _guided(
        image_size=256, class_cond=True, num_channels=256, num_head_channels=64
    ),
    "256x256_diffusion_uncond": _LSUN,
    "512x512_diffusion": _guided(
        image_size=512, class_cond=True, num_channels=256, num_head_channels=64
    ),
    **dict.fromkeys(("lsun_bedroom", "lsun_cat", "lsun_horse", "lsun_horse_nodropout"), _LSUN),
    **dict.fromkeys(("imagenet64_uncond_100M_1500K", "imagenet64_uncond_vlb_100M_1500K"), _SMALL),
    **dict.fromkeys(("cifar10_uncond_50M_500K", "cifar10_uncond_vlb_50M_500K"), _CIFAR),
    "imagenet64_cond_270M_250K": _improved(
        image_size=64, num_channels=192, class_cond=True, rescale_timesteps=False
    ),
    **dict.fromkeys(("lsun_uncond_100M_1200K_bs128", "lsun_uncond_100M_2400K_bs64"), _OLD_BEDROOM),
    **dict.fromkeys(
        (
            "ffhq_baseline",
            "ffhq_p2",
            "celebahq_p2",
            "cub_baseline",
            "cub_p2",
            "afhq_baseline",
            "afhq_p2",
            "flower_baseline",
            "flower_p2",
            "metface_baseline",
            "metface_p2",
        ),
        _P2,
    ),
}
"""The options of published checkpoints by the files' names, without ``.pt``."""


def preset_of(name: str) -> Flags:
    """Returns the options of a published checkpoint.

    Raises:
        UsageError: no checkpoint of this name is known.
    """
    if name not in PRESETS:
        raise UsageError(
            f"no published checkpoint {name!r}{did_you_mean(name, PRESETS)}; known are"
            f" {', '.join(PRESETS)}"
        )
    return PRESETS[name]
