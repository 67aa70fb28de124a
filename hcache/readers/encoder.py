"""Embeddings of pictures, and of texts where a model has them: CLIP, SigLIP, DINOv2, ViT through
transformers.

References:
    Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021),
        https://arxiv.org/abs/2103.00020
    Sigmoid Loss for Language Image Pre-Training (Zhai, Mustafa, Kolesnikov, Beyer, 2023),
        https://arxiv.org/abs/2303.15343
    DINOv2: Learning Robust Visual Features without Supervision (Oquab et al., 2023),
        https://arxiv.org/abs/2304.07193
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from ..errors import ModelError
from .pretrained import check_whole, load, weights_digest
from .reader import digest_of

BATCH = 64
WHAT = "image encoder"
"""The arguments for image processors. They are those of PIL. If torchvision is installed,
transformers would use others, which scale pictures differently, and a reader's values would depend
on this.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
    """A network with its image processor.

    It has a tokenizer if it embeds texts. ``digest`` covers the weights and the processor's
    settings.
    """

    network: Any = field(repr=False)
    processor: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    device: torch.device
    digest: str

    @property
    def temperature(self) -> float:
        """The factor of the network's cosines.

        It is 1 if the network has none.
        """
        scale = getattr(self.network, "logit_scale", None)
        return 1.0 if scale is None else float(scale.detach().float().exp())

    @torch.inference_mode()
    def pictures(self, pictures: np.ndarray, batch: int = BATCH) -> np.ndarray:
        """Returns embeddings (n, d) float32 of unit length for pictures.

        Pictures are (n, height, width, 3) uint8.
        """
        parts = []
        for start in range(0, len(pictures), batch):
            taken = self._pixels(pictures[start : start + batch])
            with torch.autocast(
                self.device.type, torch.float16, enabled=self.device.type == "cuda"
            ):
                found = self._embed(taken)
            parts.append(normalize(found.float(), dim=-1).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

    @torch.inference_mode()
    def layers(self, pictures: np.ndarray) -> list[torch.Tensor]:
        """Features by place of every layer, each (n, places, channels) float32.

        Pictures are (n, height, width, 3) uint8, all taken at once. Tokens that stand for no place,
        such as the class token, are left out; so is the layer of input embeddings.

        Raises:
            ModelError: the network gives no features by place.
        """
        taken = self._pixels(pictures)
        network = getattr(self.network, "vision_model", self.network)
        output = network(pixel_values=taken, output_hidden_states=True)
        found = getattr(output, "hidden_states", None)
        if not found or len(found) < 2:
            raise ModelError(
                f"{type(self.network).__name__} gives no features of its layers; give a CLIP,"
                " SigLIP, DINOv2, ViT or ResNet model"
            )
        return [self._by_place(each, taken).float() for each in found[1:]]

    def _by_place(self, features: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Features (n, places, channels) of a layer's maps or tokens."""
        if features.ndim == 4:
            return features.flatten(2).transpose(1, 2)
        config = self.network.config
        patch = getattr(getattr(config, "vision_config", config), "patch_size", None)
        height, width = pixels.shape[2:]
        places = (height // patch) * (width // patch) if isinstance(patch, int) else -1
        others = features.shape[1] - places
        if places < 1 or others < 0:
            raise ModelError(
                f"it is not known which tokens of {type(self.network).__name__} stand for which"
                " place; give a CLIP, SigLIP, DINOv2, ViT or ResNet model"
            )
        return features[:, others:]

    def _pixels(self, pictures: np.ndarray) -> torch.Tensor:
        """What the network takes of pictures (n, height, width, 3) uint8, on its device."""
        return self.processor(
            images=list(pictures),
            input_data_format="channels_last",  # (1, 1, 3) could be either
            return_tensors="pt",
        )["pixel_values"].to(self.device)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Returns embeddings (n, d) float32 of unit length for texts.

        Raises:
            ModelError: the network embeds only pictures.
        """
        if self.tokenizer is None:
            raise ModelError(
                f"{type(self.network).__name__} embeds no texts; give a CLIP or SigLIP model"
            )
        config = self.network.config.text_config
        tokens = self.tokenizer(
            list(texts),
            padding="max_length" if "siglip" in self.network.config.model_type else True,
            truncation=True,
            max_length=config.max_position_embeddings,
            return_tensors="pt",
        )
        return (
            normalize(
                _pooled(self.network.get_text_features(**tokens.to(self.device))).float(), dim=-1
            )
            .cpu()
            .numpy()
        )

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        if hasattr(self.network, "get_image_features"):
            return _pooled(self.network.get_image_features(pixel_values=pixels))
        return _pooled(self.network(pixel_values=pixels))


@lru_cache(maxsize=2)
def load_encoder(
    source: str, revision: str = "", device: str = "auto", texts: bool = False
) -> Encoder:
    """Loads an encoder from a folder or by hub id.

    Args:
        source: The folder or hub id.
        revision: The revision of a hub id.
        device: The device; ``auto`` means CUDA if available.
        texts: Whether it must also embed texts.

    Raises:
        ModelError: it cannot be found or downloaded, is incomplete, or does not embed texts
            although that is needed.
    """
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    what = "CLIP or SigLIP model" if texts else WHAT

    def make(where: str, **options: Any) -> tuple[Any, Any, Any]:
        """Loads the network, its image processor and, if texts are needed, its tokenizer."""
        network, report = AutoModel.from_pretrained(where, output_loading_info=True, **options)
        if texts and not hasattr(network, "get_text_features"):
            raise ModelError(
                f"{source} is a {type(network).__name__}, which embeds no texts; give a {what}"
            )
        check_whole(source, what, report)
        processor = AutoImageProcessor.from_pretrained(where, backend="pil", **options)
        tokenizer = AutoTokenizer.from_pretrained(where, **options) if texts else None
        if tokenizer is not None and set(tokenizer("face").input_ids) <= set(
            tokenizer.all_special_ids
        ):
            raise ModelError(
                f"{source} lacks its tokenizer; expected tokenizer.json beside the weights"
            )
        return network, processor, tokenizer

    network, processor, tokenizer = load(source, revision, what, make)
    digest = weights_digest(network) + str(sorted(processor.to_dict().items(), key=str))
    chosen = _device(device)
    network = network.eval().requires_grad_(False).to(chosen, torch.float32)
    return Encoder(
        network=network,
        processor=processor,
        tokenizer=tokenizer,
        device=chosen,
        digest=digest_of(digest),
    )


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _pooled(output: Any) -> torch.Tensor:
    """Returns one vector per picture or text: the network's pooled output, or its first token if
    there is none.
    """
    if isinstance(output, torch.Tensor):
        return output
    pooled = getattr(output, "pooler_output", None)
    found = output.last_hidden_state[:, 0] if pooled is None else pooled
    return found.flatten(1)
