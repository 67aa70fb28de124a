r"""The top-k autoencoder: a vector is a sum of a few features of a dictionary.

x (c,) is a token, W_enc is (m, c), W_dec is (m, c) with rows of unit length, and b_pre is (c,):

    z = ReLU(TopK(W_enc (x - b_pre)))        x̂ = W_decᵀ z + b_pre

The loss is |x - x̂|² plus 1/32 of an auxiliary loss. For the auxiliary loss, features that have not
fired for long (dead features) reconstruct the residual x - x̂ by a top-k of their own. This makes
them fire again.

References:
    Scaling and evaluating sparse autoencoders (Gao, Dupré la Tour, Tillman, Goh, Troll, Radford,
    Sutskever, Leike, Wu, 2024), https://arxiv.org/abs/2406.04093
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn.functional import embedding_bag, normalize

AUXILIARY = 1 / 32
"""The weight of the auxiliary loss."""

Weights = Mapping[str, torch.Tensor]
"""``encoder`` (m, c), ``decoder`` (m, c) with rows of unit length, ``bias`` (c,)."""


def first_weights(features: int, channels: int, seed: int) -> dict[str, torch.Tensor]:
    """Draws a dictionary at random.

    The encoder is the transpose of the decoder.
    """
    rng = torch.Generator().manual_seed(seed)
    decoder = normalize(torch.randn(features, channels, generator=rng), dim=1)
    return {"encoder": decoder.clone(), "decoder": decoder, "bias": torch.zeros(channels)}


def before_top_k(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Computes W_enc (x - b_pre): tokens (n, c) -> (n, m)."""
    return (x - weights["bias"]) @ weights["encoder"].T


def top_k(before: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keeps the k largest activations of every token.

    Returns:
        Values and features, (n, k) each.
    """
    values, features = before.topk(k, dim=1, sorted=False)
    return values.relu(), features


def decoded(weights: Weights, values: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Computes x̂ - b_pre (n, c) from activations."""
    return embedding_bag(features, weights["decoder"], per_sample_weights=values, mode="sum")


def loss_of(
    weights: Weights, x: torch.Tensor, k: int, dead: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Computes the loss of tokens, for the gradient.

    Args:
        weights: The weights, with gradients.
        x: Tokens (n, c).
        k: The number of features that fire for each token.
        dead: Whether each feature has not fired for long (m,) bool.

    Returns:
        The loss, the unexplained share of the squares, and whether each feature fired (m,).
    """
    before = before_top_k(weights, x)
    values, features = top_k(before, k)
    left = x - weights["bias"] - decoded(weights, values, features)
    whole = x.square().mean().clamp_min(1e-12)
    unexplained = left.square().mean() / whole
    fired = torch.zeros(len(dead), dtype=torch.bool)
    fired[features[values > 0]] = True
    loss = unexplained
    if count := min(int(dead.sum()), max(1, x.shape[1] // 2)):
        again = top_k(before.masked_fill(~dead, -torch.inf), count)
        remaining = left.detach() - decoded(weights, *again)
        loss = loss + AUXILIARY * remaining.square().mean() / whole
    return loss, unexplained.detach(), fired


def reconstructed(weights: Weights, x: np.ndarray, k: int, at_once: int = 8192) -> np.ndarray:
    """Reconstructs tokens (n, c) from k features each."""
    found = np.empty_like(x)
    with torch.inference_mode():
        for start in range(0, len(x), at_once):
            rows = slice(start, start + at_once)
            part = torch.from_numpy(x[rows])
            kept = top_k(before_top_k(weights, part), k)
            found[rows] = (decoded(weights, *kept) + weights["bias"]).numpy()
    return found
