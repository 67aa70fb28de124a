"""Loads the text encoders of a model folder, each with exactly its own tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from .anatomy import TRANSFORMERS
from .codecs import Autoencoder
from .parts import Parts, first_line, read_config
from .sizes import check_sizes
from .weight_files import weights_in

HARMLESS = re.compile(
    r"(^|\.)(position_ids|logit_scale)$|^(vision_model|visual_projection|text_projection)\."
)
"""Tensors of a text encoder's file without effect on text: counters, and the other half of CLIP."""


def check_unexpected(names: Iterable[str], folder: Path) -> None:
    """Refuses tensors that have no place in the network.

    They would be ignored: those of a LoRA, an adapter, or another kind of model.
    """
    found = sorted(names)
    if found:
        raise ModelError(
            f"the weights in {folder} hold {len(found)} tensors that its network has no place for,"
            f" first {found[0]}; expected the network's own alone. Merge what was added to it (a"
            " LoRA, an adapter) and save it again"
        )


def text_pipeline(
    parts: Parts, network: nn.Module, codec: Autoencoder, device: str, dtype: torch.dtype
) -> Any:
    """Returns the model's own pipeline around its network.

    It has the model's autoencoder and text encoders.
    """
    import diffusers  # these pipelines import transformers, which only text needs

    config_kind, have = parts.config["_class_name"], _text_encoders(parts, dtype)
    have |= {
        "transformer" if config_kind in TRANSFORMERS else "unet": network,
        "vae": codec.network,
    }
    empty = [part for part, kind in parts.index.items() if kind == [None, None]]
    pictures = () if config_kind in TRANSFORMERS else ("image_encoder", "feature_extractor")
    unused: dict[str, Any] = dict.fromkeys((*empty, *pictures))
    if parts.pipeline in ("StableDiffusionPipeline", "LatentConsistencyModelPipeline"):
        unused |= {"safety_checker": None, "requires_safety_checker": False}
    encoders = [
        weights_in(parts.folder / part) for part in parts.listed if part.startswith("text_encoder")
    ]
    variants = {found.variant for found in encoders if found} - {None}
    unused |= {"variant": variants.pop()} if len(variants) == 1 else {}
    try:
        return (
            getattr(diffusers, parts.pipeline)
            .from_pretrained(
                parts.folder,
                dtype=dtype,
                local_files_only=True,
                low_cpu_mem_usage=False,
                **have,
                **unused,
            )
            .to(device)
        )
    except Exception as error:  # noqa: BLE001 - a missing tokenizer, a spoilt encoder: all say it in their own way
        raise ModelError(
            f"the text encoder in {parts.folder} cannot be loaded: {first_line(error)}"
        ) from error


def text_length(parts: Parts) -> int:
    """Returns the number of tokens of an encoded text.

    It is that of the first text encoder, or 0 if it is not known. The configurations of cards that
    ship with hcache contain no text encoder; those of CLIP have its usual length.
    """
    file = parts.folder / "text_encoder" / "config.json"
    if not file.is_file():
        return _CLIP if (parts.index.get("text_encoder") or [""])[-1] == "CLIPTextModel" else 0
    found = read_config(file).get("max_position_embeddings", 0)
    return found if isinstance(found, int) and 0 < found <= _LONGEST else 0


_CLIP, _LONGEST = 77, 10**4
"""The length of CLIP's texts in tokens, and the longest that counts as one."""


def check_text_width(parts: Parts, name: str) -> None:
    """Makes sure that the U-Net's text encoders match it.

    Their output must have the width that it attends to. For SDXL it is that of both, concatenated.
    """
    files = [
        parts.folder / part / "config.json"
        for part in parts.listed
        if part.startswith("text_encoder")
    ]
    for file in filter(Path.is_file, files):
        check_sizes(read_config(file), f"the text encoder in {file.parent}")
    fields = TEXT_WIDTHS.get(parts.config["_class_name"], {})
    if not files or not all(f.is_file() for f in files):
        return
    configs = {file.parent.name: read_config(file) for file in files}
    for field, (encoders, widths) in fields.items():
        found = [config for part, config in configs.items() if part in encoders]
        given = [next((c[w] for w in widths if w in c), None) for c in found]
        wanted = parts.config.get("encoder_hid_dim") or parts.config.get(field, 1280)
        known = [width for width in given if isinstance(width, int)]
        if not known or not isinstance(wanted, int) or len(known) != len(given):
            continue
        if sum(known) != wanted:
            raise ModelError(
                f"the network of {name} takes text of width {wanted} ({field}), and its text"
                f" encoders give {' + '.join(map(str, given))}; expected parts of one model"
            )


_ENCODERS = ("text_encoder", "text_encoder_2")
_HIDDEN = ("hidden_size", "d_model")

TEXT_WIDTHS: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "UNet2DConditionModel": {"cross_attention_dim": (_ENCODERS, _HIDDEN)},
    "PixArtTransformer2DModel": {"caption_channels": (_ENCODERS, _HIDDEN)},
    "SanaTransformer2DModel": {"caption_channels": (_ENCODERS, _HIDDEN)},
    "FluxTransformer2DModel": {
        "joint_attention_dim": (("text_encoder_2",), _HIDDEN),
        "pooled_projection_dim": (("text_encoder",), _HIDDEN),
    },
    "SD3Transformer2DModel": {
        "joint_attention_dim": (("text_encoder_3",), _HIDDEN),
        "pooled_projection_dim": (_ENCODERS, ("projection_dim",)),
    },
}
"""Fields of a network with the width of its text -> the encoders, concatenated, and their fields
with their widths.
"""


def _text_encoders(parts: Parts, dtype: torch.dtype) -> dict[str, nn.Module]:
    """Loads the text encoders by their part's name, each with exactly its own tensors."""
    import transformers

    found = {}
    for part in (part for part in parts.listed if part.startswith("text_encoder")):
        folder, kind = parts.folder / part, parts.index[part][1]
        try:
            module, report = getattr(transformers, kind).from_pretrained(
                folder, dtype=dtype, output_loading_info=True, local_files_only=True
            )
        except Exception as error:  # noqa: BLE001 - whatever a spoilt file makes a library raise
            raise ModelError(
                f"the text encoder in {folder} cannot be loaded: {first_line(error)}"
            ) from error
        if missing := sorted(report["missing_keys"]):
            raise ModelError(
                f"the weights in {folder} lack {len(missing)} tensors, first {missing[0]}; "
                "the folder is incomplete"
            )
        check_unexpected(
            (name for name in report["unexpected_keys"] if not HARMLESS.search(name)), folder
        )
        found[part] = module.eval().requires_grad_(False)
    return found
