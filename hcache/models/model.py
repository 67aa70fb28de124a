"""A loaded model: network, scheduler, codec, conditioning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..cards import Card
from ..errors import ModelError
from ..features import Features
from ..specs import ATTENTION, UNCONDITIONED, Anatomy, Conditioning, Lora
from . import blocks, halves
from .anatomy import Network
from .attention_maps import recorded_attention
from .codecs import Codec, Identity
from .condition import NOTHING, Condition
from .conditioners import Conditioner, Guided, Unconditional
from .halves import Embedding
from .schedulers import Scheduler
from .side_by_side import parts_of, side_by_side
from .taps import NO_TAPS, Passing, Taps


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A loaded diffusion network with everything needed to run it.

    ``network`` is a diffusers U-Net or a transformer. A transformer supports neither ``encode`` nor
    ``decode``, only ``trace``. Inputs are float32 or have the network's dtype. Predictions are
    float32, for the sampler. ``loras``: those that were added to its weights. ``stated``: the
    configuration of its noise schedule, if the user had to give it.
    """

    card: Card
    network: Network
    scheduler: Scheduler
    anatomy: Anatomy
    codec: Codec = field(default_factory=Identity)
    conditioner: Conditioner = field(default_factory=Unconditional)
    revision: str = ""
    loras: tuple[Lora, ...] = ()
    stated: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """The device of the network's weights."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the network's weights."""
        return halves.dtype_of(self.network)

    def encode(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor | float,
        condition: Condition = NOTHING,
        embedding: Embedding | None = None,
        taps: Taps = NO_TAPS,
    ) -> Features:
        """Runs the encoder half: x_t at ``t`` -> :class:`Features`.

        x_t is (n, c, h, w), at a training timestep.

        Raises:
            NoUNetError: the model is a transformer.
        """
        self.anatomy.need_unet("encoding to h and skips")
        x, parts = x_t.to(self.dtype), parts_of(len(x_t), self.device)
        if len(parts) == 1:
            return halves.encode(self.network, x, t, condition, embedding, taps)
        emb = embedding or self.embed(len(x), t, condition)
        found = side_by_side(
            lambda rows: halves.encode(
                self.network, x[rows], t, condition, emb.rows(rows), taps.part(rows)
            ),
            parts,
        )
        return Features.join(found, torch.cat)

    def decode(
        self,
        features: Features,
        t: torch.Tensor | float,
        condition: Condition = NOTHING,
        embedding: Embedding | None = None,
        taps: Taps = NO_TAPS,
    ) -> torch.Tensor:
        """Runs the decoder half: features -> the U-Net's prediction.

        The prediction is (n, c, h, w), without a learned variance.

        Raises:
            NoUNetError: the model is a transformer.
        """
        self.anatomy.need_unet("decoding from h and skips")
        n = len(features.h)
        parts = parts_of(n, self.device)
        if len(parts) == 1:
            return self._mean(halves.decode(self.network, features, t, condition, embedding, taps))
        emb = embedding or self.embed(n, t, condition)
        found = side_by_side(
            lambda rows: self._decode_part(
                features.rows(rows.start, rows.stop), t, emb, rows, taps.part(rows)
            ),
            parts,
        )
        return torch.cat(found)

    def embed(self, n: int, t: torch.Tensor | float, condition: Condition = NOTHING) -> Embedding:
        """Returns the embedding of ``t`` and ``condition`` for both halves.

        Compute it once if you call both halves.
        """
        self.anatomy.need_unet("embedding time for its halves")
        return halves.embed(self.network, n, t, condition, self.device)

    def trace(
        self,
        x_t: torch.Tensor,
        t: float,
        condition: Condition = NOTHING,
        places: Sequence[str] = (),
        changes: Mapping[str, Passing] | None = None,
    ) -> tuple[Features, torch.Tensor]:
        """Evaluates the network once: activations and prediction.

        The prediction is that of ``decode``. ``places``: which of ``anatomy.places`` the features
        should contain besides h and skips, and ``attention`` for the cross-attention maps.
        ``changes``: changes of activations by place; those of a transformer's blocks, too.
        """
        taps = Taps(keep=places, changes=changes or {})
        if not self.anatomy.without:
            if ATTENTION in places:
                return self._trace_attention(x_t, t, condition, taps)
            return self._trace_halves(x_t, t, condition, taps)
        features, output = blocks.trace(self.network, x_t.to(self.dtype), t, condition, taps)
        return features, self._mean(output)

    def _trace_attention(
        self, x_t: torch.Tensor, t: float, condition: Condition, taps: Taps
    ) -> tuple[Features, torch.Tensor]:
        """Traces the network with its attention maps. The batch is not split, because the layers'
        processors are those of the network.
        """
        taps = replace(taps, keep=[place for place in taps.keep if place != ATTENTION])
        with recorded_attention(self.network, *x_t.shape[2:]) as maps:
            embedding = self.embed(len(x_t), t, condition)
            x = x_t.to(self.dtype)
            features = halves.encode(self.network, x, t, condition, embedding, taps)
            output = halves.decode(self.network, features, t, condition, embedding, taps)
        features = halves.with_kept(features, taps)
        others = {**features.others, ATTENTION: maps()}
        return replace(features, others=others), self._mean(output)

    def _trace_halves(
        self, x_t: torch.Tensor, t: float, condition: Condition, taps: Taps
    ) -> tuple[Features, torch.Tensor]:
        """Runs both halves, one after the other. A batch that is split is run part by part."""
        embedding, parts = self.embed(len(x_t), t, condition), parts_of(len(x_t), self.device)
        if len(parts) == 1:
            features = self.encode(x_t, t, condition, embedding, taps)
            output = self.decode(features, t, condition, embedding, taps)
            return halves.with_kept(features, taps), output
        x = x_t.to(self.dtype)

        def trace_part(rows: slice) -> tuple[Features, torch.Tensor]:
            own, emb = taps.part(rows), embedding.rows(rows)
            features = halves.encode(self.network, x[rows], t, condition, emb, own)
            output = self._decode_part(features, t, embedding, rows, own)
            return halves.with_kept(features, own), output

        features, outputs = zip(*side_by_side(trace_part, parts), strict=True)
        return Features.join(features, torch.cat), torch.cat(outputs)

    def _decode_part(
        self,
        features: Features,
        t: torch.Tensor | float,
        embedding: Embedding,
        rows: slice,
        taps: Taps,
    ) -> torch.Tensor:
        """Runs the decoder half on some samples of a batch. ``t`` and ``embedding`` are those of
        the whole batch.
        """
        own = t[rows] if isinstance(t, torch.Tensor) and t.numel() > 1 else t
        return self._mean(
            halves.decode(self.network, features, own, embedding=embedding.rows(rows), taps=taps)
        )

    def condition(self, conditioning: Conditioning = UNCONDITIONED, n: int = 1) -> Guided:
        """Returns the tensors of a conditioning for n samples, by branch.

        Raises:
            UsageError: the model does not take this kind of conditioning.
        """
        return self.conditioner(conditioning, n, self.device)

    def to_images(self, x_0: torch.Tensor, samples: Sequence[int] = ()) -> torch.Tensor:
        """Converts clean samples to pictures on the CPU.

        Samples (n, c, h, w) become pictures (n, height, width, 3) uint8.

        Args:
            x_0: The samples.
            samples: Their numbers, for errors.

        Raises:
            ModelError: a picture is not finite, which would be rendered black.
        """
        pictures = self.codec.decode(x_0)
        bad = ~torch.isfinite(pictures.flatten(1).sum(1))
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            whose = f"sample {samples[row]}" if samples else f"row {row}"
            raise ModelError(
                f"the decoded picture of {whose} is not finite; compute in bfloat16 or float32"
                " (--dtype), or make the change of the activations smaller"
            )
        return _to_pixels(pictures).cpu()

    def to_previews(self, x_0: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Returns small pictures of predicted x_0, on its device.

        They are (n, height, width, 3) uint8. For latents they show only colours.
        """
        pictures = self.codec.preview(x_0)
        if pictures.shape[-2:] != (height, width):
            pictures = torch.nn.functional.adaptive_avg_pool2d(pictures, (height, width))
        return _to_pixels(pictures)

    def _mean(self, output: torch.Tensor) -> torch.Tensor:
        """Returns a prediction without the channels for a learned variance."""
        return output[:, : self.anatomy.x[0]].float()


def _to_pixels(pictures: torch.Tensor) -> torch.Tensor:
    pixels = (pictures.float() + 1).mul(127.5).round().clamp(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
