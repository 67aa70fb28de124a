"""Reads network, autoencoder and pipeline from a model's configurations. Each field is honoured, or
refused by name.

diffusers ignores fields that a class does not know, and a pipeline ignores fields of other
pipelines. Here no field that would change a prediction is ignored.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderDC, AutoencoderKL, VQModel

from ..errors import ModelError
from .refused_pipelines import why_refused
from .sizes import check_sizes

AUTOENCODERS = {
    "AutoencoderKL": AutoencoderKL,
    "VQModel": VQModel,
    "AutoencoderDC": AutoencoderDC,
}

PLAIN_NETWORKS = ("UNet2DModel", "GuidedUNet2DModel")
"""Networks that take x_t, time and perhaps a class: diffusers' own, and the one that convert-adm
writes.
"""

PIPELINES = {
    "DDPMPipeline": PLAIN_NETWORKS,
    "DDIMPipeline": PLAIN_NETWORKS,
    "PNDMPipeline": PLAIN_NETWORKS,
    "LDMPipeline": PLAIN_NETWORKS,
    "LatentDiffusionUncondPipeline": PLAIN_NETWORKS,
    "DiTPipeline": ("DiTTransformer2DModel",),
    "StableDiffusionPipeline": ("UNet2DConditionModel",),
    "StableDiffusionXLPipeline": ("UNet2DConditionModel",),
    "LatentConsistencyModelPipeline": ("UNet2DConditionModel",),
    "FluxPipeline": ("FluxTransformer2DModel",),
    "PixArtAlphaPipeline": ("PixArtTransformer2DModel",),
    "PixArtSigmaPipeline": ("PixArtTransformer2DModel",),
    "StableDiffusion3Pipeline": ("SD3Transformer2DModel",),
    "SanaPipeline": ("SanaTransformer2DModel",),
}
"""Pipelines with the same loop as hcache -> the networks that they run."""

LORA_PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "FluxPipeline",
    "StableDiffusion3Pipeline",
    "SanaPipeline",
    "LatentConsistencyModelPipeline",
)
"""Pipelines that load LoRAs."""

TEXT_PIPELINES = (*LORA_PIPELINES, "PixArtAlphaPipeline", "PixArtSigmaPipeline")

PLAIN = {
    "StableDiffusionImg2ImgPipeline": "StableDiffusionPipeline",
    "StableDiffusionInpaintPipeline": "StableDiffusionPipeline",
    "StableDiffusionInpaintPipelineLegacy": "StableDiffusionPipeline",
    "StableDiffusionXLImg2ImgPipeline": "StableDiffusionXLPipeline",
    "StableDiffusionXLInpaintPipeline": "StableDiffusionXLPipeline",
    "StableDiffusion3Img2ImgPipeline": "StableDiffusion3Pipeline",
    "StableDiffusion3InpaintPipeline": "StableDiffusion3Pipeline",
    "FluxImg2ImgPipeline": "FluxPipeline",
    "FluxInpaintPipeline": "FluxPipeline",
}
"""Pipelines for given pictures, with the same parts as those that generate from noise alone."""

PIX2PIX = {
    "StableDiffusionInstructPix2PixPipeline": "StableDiffusionPipeline",
    "StableDiffusionXLInstructPix2PixPipeline": "StableDiffusionXLPipeline",
}
"""Pipelines that change a picture by a text. Without a picture (zeros, which their training for
guidance includes) their loop is that of the plain pipeline.
"""

MASK, PICTURE = 5, 4
"""Additional channels besides x_t's: inpainting's mask and masked picture; InstructPix2Pix's
picture.
"""

BESIDE = {
    "StableDiffusionInpaintPipeline": MASK,
    "StableDiffusionXLInpaintPipeline": MASK,
    **dict.fromkeys(PIX2PIX, PICTURE),
}
"""Pipelines whose networks may take additional channels besides x_t's -> their number."""

PARTS = (
    "unet",
    "transformer",
    "vae",
    "vqvae",
    "scheduler",
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
    "tokenizer",
    "tokenizer_2",
    "tokenizer_3",
    "safety_checker",
    "feature_extractor",
    "image_encoder",
)
"""Parts that a pipeline may list. The last three take no part in denoising, and hcache ignores
them.
"""

PIPELINE_FIELDS = {
    "requires_safety_checker": "no picture is left out of a cache",
    "force_zeros_for_empty_prompt": "read, by the pipeline that encodes prompts",
    "add_watermarker": "a watermark is put on finished pictures alone",
    "id2label": "names of classes",
}
"""Fields of ``model_index.json`` that are not parts, and why they may have any value."""

OLD_TRANSFORMER = "Transformer2DModel"
"""The old class name in configurations of DiT (such as facebook/DiT-XL-2-256), from before it had
its own class.
"""


def network_class(config: Mapping[str, Any]) -> str:
    """Returns the class of a network from its configuration.

    For an old name it is the class that diffusers uses.
    """
    kind = config.get("_class_name", "nothing")
    if kind == OLD_TRANSFORMER and config.get("norm_type") == "ada_norm_zero":
        return "DiTTransformer2DModel"
    if kind == OLD_TRANSFORMER and config.get("norm_type") == "ada_norm_single":
        return "PixArtTransformer2DModel"
    return kind


def pipeline_of(index: Mapping[str, Any], network: str, name: str) -> str:
    """Returns the pipeline of a folder, from its ``model_index.json``.

    It is "" for a bare network.

    Raises:
        ModelError: the pipeline has another loop than hcache, or lists or sets something that
            hcache does not read.
    """
    named = index.get("_class_name", "")
    named = (
        named if isinstance(named, str) else str(named)
    )  # a class with custom code is a list: a file and a class
    plain = (PLAIN | PIX2PIX).get(named, named)
    if named and plain not in PIPELINES:
        raise ModelError(
            f"{name} is a {named}, which is not taken: {why_refused(named)}; expected one of"
            f" {', '.join(PIPELINES)}"
        )
    if named and network not in PIPELINES[plain]:
        raise ModelError(
            f"{name} is a {named} around a {network}; expected {' or '.join(PIPELINES[plain])}"
        )
    for field, value in index.items():
        known = field.startswith("_") or field in PARTS or field in PIPELINE_FIELDS
        if not known and value and not (isinstance(value, list) and value[0] is None):
            raise ModelError(
                f"model_index.json of {name} gives {field}: {value!r}, which hcache cannot honour"
            )
    return plain


def channels_beside(index: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Returns how many channels a network takes besides x_t's.

    They are stacked after those of x_t. Their number follows from the pipeline's class.
    """
    named = index.get("_class_name", "")
    found = BESIDE.get(named, 0) if isinstance(named, str) else 0
    return found if named in PIX2PIX or config.get("in_channels") == 4 + found else 0


def say_how_it_is_run(index: Mapping[str, Any], plain: str, beside: int, name: str) -> None:
    """Warns if another pipeline's folder is run as the plain one."""
    named = index.get("_class_name", "")
    if plain == named:
        return
    how = {
        MASK: "; the whole picture is masked, so that it draws from text alone",
        PICTURE: "; it is given no picture (zeros), so that it draws from text alone",
    }
    logging.getLogger(__name__).warning(
        "%s is a %s; its parts are those of a %s, and it is run as one%s",
        name,
        named,
        plain,
        how.get(beside, ""),
    )


def check_network(
    config: Mapping[str, Any], kind: type, codec: Mapping[str, Any], name: str, beside: int = 0
) -> None:
    """Makes sure that a network can be run exactly.

    All its fields are honoured, and it takes only x_t, time, text and classes.

    Raises:
        ModelError: it cannot. The message says what it takes.
    """
    check_fields(config, kind, f"the network of {name}")
    check_sizes(config, f"the network of {name}")
    if kind.__name__ == "UNet2DConditionModel":
        _check_conditions(config, name)
    if kind.__name__ == "SanaTransformer2DModel" and config.get("guidance_embeds"):
        raise ModelError(
            f"the network of {name} has guidance_embeds: it was distilled to a few steps (Sana"
            " Sprint), each of which predicts x_0 and adds fresh noise; expected a Sana that is"
            " sampled as a flow"
        )
    if kind.__name__ != "FluxTransformer2DModel":
        _check_channels(config, kind, codec, name, beside)
    elif codec and config.get("in_channels", 64) != (four := 4 * _latent_channels(codec)):
        raise ModelError(
            f"the network of {name} has {config.get('in_channels', 64)} channels in (of 2 x 2"
            f" places); expected {four}, four times its autoencoder's. A FLUX with more is given a"
            " picture beside x_t (Fill, Control), which its pipeline here does not give it"
        )


def check_codec(config: Mapping[str, Any], pipeline: str, name: str) -> None:
    """Makes sure that all fields of an autoencoder are honoured.

    Raises:
        ModelError: it is of another kind, or needs something that hcache does not do.
    """
    kind = config.get("_class_name")
    if kind not in AUTOENCODERS:
        raise ModelError(
            f"the autoencoder of {name} is a {kind}; expected {' or '.join(AUTOENCODERS)}"
        )
    if (kind == "AutoencoderDC") != (pipeline == "SanaPipeline"):
        raise ModelError(
            f"the autoencoder of {name} is an {kind}, and its pipeline a {pipeline or 'bare one'};"
            " expected AutoencoderDC in a SanaPipeline, and nowhere else"
        )
    check_fields(config, AUTOENCODERS[kind], f"the autoencoder of {name}")
    check_sizes(config, f"the autoencoder of {name}")
    if {config.get("in_channels", 3), config.get("out_channels", 3)} != {3}:
        raise ModelError(
            f"the autoencoder of {name} takes {config.get('in_channels', 3)} channels and gives "
            f"{config.get('out_channels', 3)}; expected 3, pictures in colour"
        )
    if (config.get("latents_mean") is None) != (config.get("latents_std") is None):
        raise ModelError(
            f"the autoencoder of {name} gives one of latents_mean and latents_std; expected both or"
            " none"
        )
    if config.get("latents_mean") is not None and pipeline != "StableDiffusionXLPipeline":
        raise ModelError(
            f"the autoencoder of {name} gives latents_mean and latents_std, which only SDXL's"
            f" pipeline reads and {pipeline or 'a bare network'} does not; remove them if the model"
            " was trained without them"
        )


def check_fields(config: Mapping[str, Any], kind: type, what: str) -> None:
    """Makes sure that a class knows a configuration's fields.

    Empty fields are ignored.

    Raises:
        ModelError: it does not know a field, which diffusers would ignore.
    """
    known = inspect.signature(kind.__init__).parameters
    for field, value in config.items():
        if field in known or field.startswith("_") or not value or (field, value) in _SAYS_NOTHING:
            continue
        raise ModelError(
            f"the configuration of {what} gives {field}: {value!r}, which diffusers'"
            f" {kind.__name__} does not know; remove it if it changes nothing of what is computed,"
            " or update diffusers"
        )


_SAYS_NOTHING = (("attention_type", "default"), ("norm_type", "ada_norm_zero"))
"""Fields of the old transformer that a DiT's class does not know, with the values that match its
behaviour.
"""


def _check_conditions(config: Mapping[str, Any], name: str) -> None:
    """Makes sure that a U-Net with text takes only text, SDXL's sizes and a distilled guidance
    scale.
    """
    for field, allowed, what in (
        (
            "encoder_hid_dim_type",
            (None, "text_proj"),
            "its text is replaced or joined by the embedding of a picture",
        ),
        ("addition_embed_type", (None, "text_time"), "conditions are added to its time embedding"),
        (
            "class_embed_type",
            (None,),
            "it is told a noise level, or a picture's embedding, as a class",
        ),
        ("num_class_embeds", (None,), "it is told a class, or a noise level, beside the text"),
        (
            "attention_type",
            (None, "default"),
            "it attends to boxes with words beside the prompt (GLIGEN)",
        ),
    ):
        if config.get(field) not in allowed:
            raise ModelError(
                f"the network of {name} has {field} {config[field]!r}: {what}, which hcache cannot"
                f" give it; expected {' or '.join(str(value) for value in allowed)}"
            )


def _check_channels(
    config: Mapping[str, Any], kind: type, codec: Mapping[str, Any], name: str, beside: int
) -> None:
    """Makes sure that the input is x_t, with ``beside`` additional channels, and that the output is
    a prediction of its shape, with or without a variance.
    """
    default = inspect.signature(kind.__init__).parameters
    into, out = (config.get(f, default[f].default) for f in ("in_channels", "out_channels"))
    out = into if out is None else out
    if not codec:
        if into in (1, 3) and out in (into, 2 * into):
            return
        raise ModelError(
            f"{name} has {into} channels in, {out} out and no autoencoder beside it (vae/ or"
            " vqvae/); expected one, or 3 channels (pictures in colour) or 1 (grey), and as many"
            " out, or twice as many with a learned variance" + _given_beside(into, out)
        )
    latent = _latent_channels(codec)
    if into == latent + beside and out in (latent, 2 * latent):
        return
    raise ModelError(
        f"the network of {name} has {into} channels in and {out} out, and its autoencoder {latent};"
        f" expected {latent + beside} in, and {latent} out, or {2 * latent} with a learned"
        f" variance{_given_beside(into, out)}"
    )


def _latent_channels(codec: Mapping[str, Any]) -> int:
    own = inspect.signature(AUTOENCODERS[codec["_class_name"]].__init__).parameters
    return codec.get("latent_channels", own["latent_channels"].default)


_BY_CHANNELS = {
    (9, 4): "inpainting: a mask and the masked picture",
    (8, 4): "editing or estimation (InstructPix2Pix, Marigold): a picture",
    (5, 4): "depth to image: a depth map",
    (7, 4): "upscaling: a small picture",
    (6, 3): "super-resolution: a small picture",
    (6, 6): "super-resolution: a small picture",
}


def _given_beside(into: int, out: int) -> str:
    """Returns the known input besides x_t of a network with this number of channels."""
    found = _BY_CHANNELS.get((into, out))
    return (
        f". A network like this is given more than x_t ({found}), which its pipeline here does not"
        " give it"
        if found
        else ""
    )
