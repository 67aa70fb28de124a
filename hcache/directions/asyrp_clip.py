r"""The directional CLIP loss: a picture should change in the same way as a text.

    ΔT = E_T(target) - E_T(source),    ΔI = E_I(edited) - E_I(unedited),    loss = 1 - cos(ΔI, ΔT)

All embeddings are of unit length. Each text is put into a few templates, and ΔT is the mean over
them, so that it depends less on the wording.

References:
    StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators (Gal, Patashnik, Maron,
        Chechik, Cohen-Or, 2021), https://arxiv.org/abs/2108.00946
    Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021),
        https://arxiv.org/abs/2103.00020, for CLIP
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cosine_similarity, interpolate, normalize

from ..errors import ModelError, UsageError

TEMPLATES = (
    "{}",
    "a photo of a {}",
    "a close-up photo of a {}",
    "a cropped photo of a {}",
    "a blurry photo of a {}",
)
"""The crop of pictures. A predicted x_0 at high noise is blurred, and a face fills the frame."""

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""The mean and spread of colours that OpenAI's models were trained on. A model's folder may contain
others.
"""


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP model with its tokenizer.

    ``mean`` and ``std`` (3, 1, 1) are those of its input colours, in [0, 1].
    """

    network: Any
    tokenizer: Any
    mean: torch.Tensor
    std: torch.Tensor

    def pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns embeddings (n, d) of unit length for pictures.

        Pictures (n, 3, height, width) are in [-1, 1]. Gradients are kept.
        """
        side = self.network.config.vision_config.image_size
        scale = side / min(pictures.shape[-2:])
        sizes = [max(side, round(length * scale)) for length in pictures.shape[-2:]]
        top, left = ((length - side) // 2 for length in sizes)
        resized = interpolate(pictures, sizes, mode="bicubic", antialias=True)[
            ..., top : top + side, left : left + side
        ]
        taken = ((resized + 1) / 2 - self.mean) / self.std
        pooled = self.network.vision_model(pixel_values=taken).pooler_output
        return normalize(self.network.visual_projection(pooled), dim=-1)

    @torch.no_grad()
    def texts(self, texts: list[str]) -> torch.Tensor:
        """Returns embeddings (n, d) of unit length for texts."""
        longest = self.network.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        )
        tokens = tokens.to(self.mean.device)
        pooled = self.network.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return normalize(self.network.text_projection(pooled), dim=-1)

    def direction(self, source: str, target: str) -> torch.Tensor:
        """Returns ΔT (d,).

        Raises:
            UsageError: a text is missing, or this model gives both the same embedding.
        """
        if not source.strip() or not target.strip():
            raise UsageError(
                "give both texts: source, what the pictures show (face), and target (smiling face)"
            )
        before, after = (
            self.texts([template.format(text) for template in TEMPLATES])
            for text in (source, target)
        )
        found = (after - before).mean(0)
        if float(found.norm()) < 1e-6:
            raise UsageError(
                f"{source!r} and {target!r} are the same to this CLIP model; give texts that differ"
            )
        return found


def directional_loss(
    edited: torch.Tensor, unedited: torch.Tensor, text: torch.Tensor
) -> torch.Tensor:
    """Returns 1 - cos(ΔI, ΔT), averaged over pictures.

    Its inputs are the pictures' embeddings (n, d) and ΔT (d,).
    """
    return 1 - cosine_similarity(edited - unedited, text[None], dim=-1).mean()


def load_clip(source: str, device: torch.device) -> Clip:
    """Loads a CLIP model from a folder or by its hub id.

    It looks in the local hub cache first, and then on the network if that is allowed.

    Raises:
        UsageError: no source was given.
        ModelError: it cannot be found or downloaded, or is not a complete CLIP model.
    """
    from transformers import CLIPModel, CLIPTokenizer

    if not source:
        raise UsageError(
            "this method needs a CLIP model: give the option clip, a folder or a hub id such as "
            "openai/clip-vit-base-patch32"
        )
    folder = Path(source).expanduser()
    where = str(folder) if folder.is_dir() else source
    failure: Exception | None = None
    for local in (True,) if folder.is_dir() else (True, False):
        try:
            loaded: Any = CLIPModel.from_pretrained(
                where, local_files_only=local, output_loading_info=True
            )
            network, report = loaded  # transformers does not declare that there are two
            tokenizer = CLIPTokenizer.from_pretrained(where, local_files_only=local)
            mean, std = _colours(where, local)
            break
        except Exception as error:  # noqa: BLE001 - missing, spoilt, offline, no such id: all say it in their own way
            failure = error
    else:
        raise ModelError(
            f"there is no CLIP model at {source} ({_first_line(failure)}); expected a folder with"
            " config.json, weights and tokenizer, or a hub id. Where there is a network, `hf"
            " download openai/clip-vit-base-patch32 --local-dir FOLDER` makes such a folder"
        ) from failure
    _check_whole(source, report["missing_keys"], tokenizer)
    colours = [torch.tensor(part, device=device).view(3, 1, 1) for part in (mean, std)]
    return Clip(network.eval().requires_grad_(False).to(device, torch.float32), tokenizer, *colours)


def _check_whole(source: str, missing: Iterable[str], tokenizer: Any) -> None:
    """Refuses an incomplete model. transformers replaces what it does not find: missing tensors by
    random weights, and a missing tokenizer by one without words.
    """
    if missing := sorted(missing):
        raise ModelError(
            f"{source} is not a complete CLIP model: it lacks {len(missing)} tensors, first"
            f" {missing[0]};"
            " expected one with both its text and its vision part"
        )
    if set(tokenizer("face").input_ids) <= set(tokenizer.all_special_ids):
        raise ModelError(
            f"{source} is not a complete CLIP model: it lacks its tokenizer; expected"
            " tokenizer.json, or"
            " vocab.json and merges.txt, beside the weights"
        )


def _colours(where: str, local: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and spread of a model's input colours, or OpenAI's if the model does not
    say.
    """
    from transformers.utils import cached_file

    path = cached_file(
        where,
        "preprocessor_config.json",
        local_files_only=local,
        _raise_exceptions_for_missing_entries=False,
    )
    config = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    return tuple(config.get("image_mean", MEAN)), tuple(config.get("image_std", STD))


def _first_line(error: Exception | None) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
