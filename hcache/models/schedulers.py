"""Supported schedulers: those of diffusions that DDIM can sample, with all their fields.

A scheduler's configuration contains two things: the training (betas, prediction type) and
diffusers' solver (order, method, variance). hcache samples every diffusion with DDIM, and every
flow (FLUX, Stable Diffusion 3, Sana) with Euler's method. So it reads the fields of the training,
ignores those of the solver, and refuses all others. Models that were distilled to a few steps (LCM,
TCD) are sampled with their own scheduler's steps, because DDIM does not sample from them.

A class is in ``TAKEN`` if a test shows that its own pipeline makes the same pictures from the same
noise. All other classes of diffusers are refused with a reason.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)

from ..errors import ModelError


class OwnSpacingFlow(FlowMatchEulerDiscreteScheduler):
    """A flow that spaces its noise levels itself.

    The pipelines of Stable Diffusion 3 and Sana leave the spacing to their scheduler. FLUX's
    pipeline sets it.
    """


Scheduler = (
    DDIMScheduler
    | FlowMatchEulerDiscreteScheduler
    | DPMSolverMultistepScheduler
    | LCMScheduler
    | TCDScheduler
)
"""A DPMSolverMultistepScheduler is used here for flows only (``use_flow_sigmas``)."""

TAKEN = (
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Classes of DDPM's diffusion with discrete betas."""

FEW_STEPS: dict[str, type[LCMScheduler] | type[TCDScheduler]] = {
    "LCMScheduler": LCMScheduler,
    "TCDScheduler": TCDScheduler,
}
"""Schedulers of models that were distilled to a few steps. They are sampled with their own steps.

References:
    Latent Consistency Models: Synthesizing High-Resolution Images with Few-Step Inference (Luo,
        Tan, Huang, Li, Zhao, 2023), https://arxiv.org/abs/2310.04378
    Trajectory Consistency Distillation (Zheng, Hu, Fan, Wang, Ding, Tao, Cham, 2024),
        https://arxiv.org/abs/2402.19159
"""

FLOW = "FlowMatchEulerDiscreteScheduler"
"""Supported only for the transformers in ``FLOWS``."""

FLOW_SOLVER = "DPMSolverMultistepScheduler"
"""Sana's scheduler. With ``use_flow_sigmas`` it solves a flow."""

FLOWS = {
    "FluxTransformer2DModel": (FLOW,),
    "SD3Transformer2DModel": (FLOW,),
    "SanaTransformer2DModel": (FLOW_SOLVER, FLOW),
}
"""Networks that are flows -> their supported schedulers."""

_EDM = "it adds noise as EDM does and scales what the network is given and gives"
_EXPLODING = "its variance explodes (a score-based model): x_t is not scaled down as noise is added"
_DISTILLED = "at every step it predicts x_0 and adds fresh noise, as distilled models need it"
_FLOW = "it is a flow, not a diffusion with betas"
_TOKENS = "it unmasks discrete tokens and adds no noise"
_BACKWARDS = "it runs from picture to noise; name the scheduler that the model is sampled with"
_UNTRIED = "its pictures were not shown to be those of DDIM"

REFUSED = {
    "AmusedScheduler": _TOKENS,
    "BlockRefinementScheduler": _TOKENS,
    "CMStochasticIterativeScheduler": (
        "it is of a consistency model, which maps noise to a picture in one step"
    ),
    "CogVideoXDDIMScheduler": "it shifts the signal-to-noise ratio of its betas, for video",
    "CogVideoXDPMScheduler": "it shifts the signal-to-noise ratio of its betas, for video",
    "ConsistencyDecoderScheduler": "it is of a consistency decoder",
    "CosineDPMSolverMultistepScheduler": _EDM,
    "DDIMInverseScheduler": _BACKWARDS,
    "DDPMWuerstchenScheduler": "its time runs continuously from 1 to 0, without betas",
    "DPMSolverMultistepInverseScheduler": _BACKWARDS,
    "DPMSolverSDEScheduler": _UNTRIED,
    "DiscreteDDIMScheduler": _TOKENS,
    "EDMDPMSolverMultistepScheduler": _EDM,
    "EDMEulerScheduler": _EDM,
    "EntropyBoundScheduler": _TOKENS,
    "FlowMapEulerDiscreteScheduler": _FLOW,
    "FlowMatchHeunDiscreteScheduler": _FLOW,
    "FlowMatchLCMScheduler": _FLOW,
    "HeliosDMDScheduler": _FLOW,
    "HeliosScheduler": _FLOW,
    "IPNDMScheduler": "its betas are those of a sine and its time is continuous",
    "KDPM2AncestralDiscreteScheduler": _UNTRIED,
    "KarrasVeScheduler": _EXPLODING,
    "LTXEulerAncestralRFScheduler": _FLOW,
    "MiniMaxH3Scheduler": _FLOW,
    "PiflowScheduler": _FLOW,
    "RFD4ProteinaScheduler": _FLOW,
    "RePaintScheduler": "it fills in a picture that it is given",
    "SASolverScheduler": _UNTRIED,
    "SCMScheduler": _DISTILLED,
    "ScoreSdeVeScheduler": _EXPLODING,
    "ScoreSdeVpScheduler": "its time is continuous, without betas",
    "UnCLIPScheduler": "it is of unCLIP, which needs an image's embedding",
    "VQDiffusionScheduler": _TOKENS,
}
"""Every other scheduler of diffusers -> why it is refused."""

READ = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "clip_sample",
    "clip_sample_range",
    "set_alpha_to_one",
    "steps_offset",
    "timestep_spacing",
    "rescale_betas_zero_snr",
    "final_sigmas_type",
)
"""Fields that are read."""

SOLVER = (
    "algorithm_type",
    "disable_corrector",
    "euler_at_final",
    "interpolation_type",
    "lower_order_final",
    "original_inference_steps",
    "predict_x0",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "timestep_scaling",
    "variance_type",
)
"""Fields of the solver, or of the variance of DDPM's steps. DDIM has its own."""

WITH_ANOTHER = {
    "dynamic_thresholding_ratio": "thresholding",
    "sample_max_value": "thresholding",
    "flow_shift": "use_flow_sigmas",
    "time_shift_type": "use_dynamic_shifting",
    "shift_terminal": "use_flow_sigmas",
}
"""Fields that only matter together with another field, which is refused."""

NEUTRAL: dict[str, tuple[Any, str]] = {
    "thresholding": (
        False,
        "dynamic thresholding divides every predicted x_0 by a percentile of its own, which DDIM's"
        " step here does not",
    ),
    "use_karras_sigmas": (False, "its noise levels are not those of training timesteps"),
    "use_exponential_sigmas": (False, "its noise levels are not those of training timesteps"),
    "use_beta_sigmas": (False, "its noise levels are not those of training timesteps"),
    "use_lu_lambdas": (False, "its noise levels are not those of training timesteps"),
    "use_flow_sigmas": (False, "it makes a flow of the model"),
    "use_dynamic_shifting": (False, "it shifts noise levels by the size of the picture"),
    "sigma_min": (None, "it cuts the range of noise levels"),
    "sigma_max": (None, "it cuts the range of noise levels"),
    "lambda_min_clipped": (-math.inf, "it cuts the range of noise levels"),
    "timestep_type": ("discrete", "the network would be given logarithms of noise levels"),
    "predict_epsilon": (True, "it stands for prediction_type: sample, and hcache reads only that"),
}
"""Fields that are refused unless they have this value, and the reason."""

BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
SPACINGS = ("leading", "trailing", "linspace")
FINAL_SIGMAS = ("zero", "sigma_min")

FLOW_NEUTRAL: dict[str, tuple[Any, str]] = {
    "invert_sigmas": (False, "it would run from picture to noise"),
    "stochastic_sampling": (False, "a flow's steps take no noise here"),
}

SANA_NEUTRAL: dict[str, tuple[Any, str]] = {
    **FLOW_NEUTRAL,
    "use_dynamic_shifting": (False, "Sana's pipeline does not shift by the size of the picture"),
}

FLOW_SOLVER_NEUTRAL: dict[str, tuple[Any, str]] = {
    **{name: NEUTRAL[name] for name in NEUTRAL if name != "use_flow_sigmas"},
    "final_sigmas_type": ("zero", "a flow ends without noise"),
}
FLOW_SOLVER_READ = ("num_train_timesteps", "flow_shift", "use_flow_sigmas", "prediction_type")
FLOW_SOLVER_IDLE = (
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "steps_offset",
    "timestep_spacing",
)
"""Fields of a flow's solver without effect if ``use_flow_sigmas`` is on."""


def scheduler_from(config: Mapping[str, Any], where: str, *, network: str = "") -> Scheduler:
    """Builds the noise schedule that a scheduler's configuration describes.

    It is a schedule of DDIM or of a flow.

    Args:
        config: The contents of ``scheduler_config.json``.
        where: Its path, for errors.
        network: The class of the network, which says whether it is a flow (``FLOWS``).

    Raises:
        ModelError: it describes another kind of model, or a field of it cannot be honoured.
    """
    kind = check_kind(config.get("_class_name"), where, network=network)
    own = _defaults(kind)
    given = {name: value for name, value in config.items() if not name.startswith("_")}
    if network in FLOWS:
        return _flow(given, own, kind, where, network)
    _check_neutral(given, NEUTRAL, kind, where)
    _check_known(given, (*READ, *SOLVER, *WITH_ANOTHER, *NEUTRAL), kind, where)
    fields = {**_missing(own, given), **own, **given}
    made = _ddim(fields, kind, where)
    if made.config.prediction_type == "epsilon" and float(made.alphas_cumprod.min()) <= 0:
        raise ModelError(
            f"the schedule in {where} ends without any signal (rescale_betas_zero_snr, or large"
            " betas) while the network predicts the noise, from which x_0 cannot be had there;"
            " expected prediction_type v_prediction or sample. If the model was not trained so,"
            " write rescale_betas_zero_snr: false"
        )
    return _few_steps(fields, kind, where) if kind in FEW_STEPS else made


def _few_steps(fields: Mapping[str, Any], kind: str, where: str) -> LCMScheduler | TCDScheduler:
    """Returns the scheduler of a distilled model with the fields that its steps use."""
    steps, trained = fields["original_inference_steps"], fields["num_train_timesteps"]
    if not (isinstance(steps, int) and 1 <= steps <= trained):
        raise ModelError(
            f"{where} gives its {kind} original_inference_steps: {steps!r}; expected a whole number"
            f" from 1 to {trained}"
        )
    scaling = fields["timestep_scaling"]
    if not (isinstance(scaling, int | float) and math.isfinite(scaling) and scaling > 0):
        raise ModelError(
            f"{where} gives its {kind} timestep_scaling: {scaling!r}; expected a number above 0"
        )
    known = inspect.signature(FEW_STEPS[kind].__init__).parameters
    return FEW_STEPS[kind](**{name: value for name, value in fields.items() if name in known})


def _flow(
    given: Mapping[str, Any], own: Mapping[str, Any], kind: str, where: str, network: str
) -> Scheduler:
    """A flow's scheduler with the fields that are read."""
    if kind == FLOW:
        neutral = FLOW_NEUTRAL if network != "SanaTransformer2DModel" else SANA_NEUTRAL
        _check_neutral(given, neutral, kind, where)
        _check_known(given, tuple(own), kind, where)
        spaced = network == "FluxTransformer2DModel"
        return (FlowMatchEulerDiscreteScheduler if spaced else OwnSpacingFlow).from_config(
            dict(given)
        )
    for name, value in (("use_flow_sigmas", True), ("prediction_type", "flow_prediction")):
        if given.get(name, own[name]) != value:
            raise ModelError(
                f"{where} gives its {kind} {name}: {given.get(name, own[name])!r}, and the network"
                f" is a flow ({network}); expected {value!r}"
            )
    _check_neutral(given, FLOW_SOLVER_NEUTRAL, kind, where)
    known = (*FLOW_SOLVER_READ, *FLOW_SOLVER_IDLE, *SOLVER, *WITH_ANOTHER, *FLOW_SOLVER_NEUTRAL)
    _check_known(given, known, kind, where)
    return DPMSolverMultistepScheduler.from_config(
        {name: given[name] for name in FLOW_SOLVER_READ if name in given}
    )


def check_kind(kind: Any, where: str, *, network: str = "") -> str:
    """Returns the name of a scheduler's class, if it is supported.

    It must be supported for a network of this class.

    Raises:
        ModelError: it is not. The message says why.
    """
    of_flow = FLOWS.get(network, ())
    if kind in (of_flow or (*TAKEN, *FEW_STEPS)):
        return kind
    expected = (
        f"expected {' or '.join(of_flow)}"
        if of_flow
        else (
            "expected DDIMScheduler, DDPMScheduler, PNDMScheduler, EulerDiscreteScheduler,"
            " DPMSolverMultistepScheduler or another solver of DDPM's diffusion"
        )
    )
    if kind not in (*TAKEN, *FEW_STEPS, FLOW, *REFUSED):
        raise ModelError(f"{where} names no scheduler that hcache knows: {kind!r}; {expected}")
    why = REFUSED.get(
        kind,
        _FLOW if kind == FLOW else f"a {network} is a flow, and this is a diffusion with betas",
    )
    advice = (
        ""
        if of_flow
        else ". If the model was trained with DDPM's betas, write DDIMScheduler and its betas there"
    )
    raise ModelError(f"{where} names {kind}, which is not taken: {why}; {expected}{advice}")


def _check_neutral(
    given: Mapping[str, Any], neutral: Mapping[str, tuple[Any, str]], kind: str, where: str
) -> None:
    for name, (value, why) in neutral.items():
        if name in given and given[name] != value:
            raise ModelError(
                f"{where} gives its {kind} {name}: {given[name]!r}, which is not supported: {why}; "
                f"expected {value!r}, or the field left out"
            )


def _check_known(given: Mapping[str, Any], known: tuple[str, ...], kind: str, where: str) -> None:
    """Makes sure that unknown fields are empty: null, false, 0, or empty brackets."""
    for name, value in given.items():
        if name not in known and value:
            raise ModelError(
                f"{where} gives its {kind} {name}: {value!r}, a field that hcache does not know;"
                " remove it if it changes nothing of what is sampled"
            )


def _defaults(kind: str) -> dict[str, Any]:
    """Returns the defaults of a class for missing fields."""
    parameters = inspect.signature(getattr(diffusers, kind).__init__).parameters
    return {n: p.default for n, p in parameters.items() if n != "self" and p.default is not p.empty}


def _missing(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that DDIM needs for classes without them, because DDIM's default differs
    from their behaviour.
    """
    ends_clean = given.get("final_sigmas_type", own.get("final_sigmas_type", "zero")) == "zero"
    return {
        "clip_sample": False,
        "set_alpha_to_one": ends_clean,
        "steps_offset": 0,
        "timestep_spacing": own.get(
            "timestep_spacing", "linspace"
        ),  # for DPMSolverSinglestep, which has no choice
    }


def _ddim(fields: Mapping[str, Any], kind: str, where: str) -> DDIMScheduler:
    """Returns DDIM with the read fields, each checked for its range."""
    for name, allowed in (
        ("beta_schedule", BETAS),
        ("prediction_type", PREDICTIONS),
        ("timestep_spacing", SPACINGS),
        ("final_sigmas_type", FINAL_SIGMAS),
    ):
        if (
            name in fields
            and fields[name] not in allowed
            and not (name == "beta_schedule" and fields["trained_betas"])
        ):
            more = (
                ". Its betas can be given one by one instead, as trained_betas"
                if name == "beta_schedule"
                else ""
            )
            raise ModelError(
                f"{where} gives its {kind} {name}: {fields[name]!r}; expected one of"
                f" {', '.join(allowed)}{more}"
            )
    betas, trained = fields.get("trained_betas"), fields["num_train_timesteps"]
    if betas is not None and len(betas) != trained:
        raise ModelError(
            f"{where} gives {len(betas)} trained_betas and num_train_timesteps {trained}; give one"
            " a step"
        )
    taken = inspect.signature(DDIMScheduler.__init__).parameters
    try:
        made = DDIMScheduler(
            **{name: value for name, value in fields.items() if name in READ and name in taken}
        )
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"{where} gives its {kind} what makes no schedule: {error}") from error
    if not bool(torch.isfinite(made.alphas_cumprod).all()) or float(made.alphas_cumprod.max()) > 1:
        raise ModelError(
            f"{where} gives its {kind} betas that make no schedule; expected numbers in [0, 1)"
        )
    return made
