r"""Leading singular vectors of a Jacobian that is never formed, by subspace iteration with jvp and
vjp.

With J the Jacobian of f at a point, V (k orthonormal inputs) is replaced by the orthonormal part of
Jᵀ J V until the space it spans stays the same; the singular values of J V, and their right singular
vectors, then tell the directions in it apart. The k products are one batch, for rows of a batch do
not see each other.

References:
    Discovering Interpretable Directions in the Semantic Latent Space of Diffusion Models (Haas,
        Huberman-Spiegelglas, Mulayoff, Graßhof, Brandt, Michaeli, 2023),
        https://arxiv.org/abs/2303.11073
    Understanding the Latent Space of Diffusion Models through the Lens of Riemannian Geometry
        (Park, Kwon, Choi, Jo, Uh, 2023), https://arxiv.org/abs/2307.12868
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import AnalysisError


@dataclass(frozen=True, kw_only=True)
class Singular:
    """Singular vectors and values of a Jacobian.

    ``right`` (k, *input): orthonormal inputs. ``left`` (k, *output): J right / values. ``values``
    (k,): descending. ``change``: the largest sine of an angle between the spaces of the last two
    iterations.
    """

    right: torch.Tensor
    left: torch.Tensor
    values: torch.Tensor
    iterations: int
    change: float


def leading_singular(
    function: Callable[[torch.Tensor], torch.Tensor],
    point: torch.Tensor,
    k: int = 3,
    iterations: int = 50,
    tolerance: float = 1e-2,
    seed: int = 0,
) -> Generator[float, None, Singular]:
    """Returns the k leading singular vectors of a function's Jacobian.

    The Jacobian is taken at a point.

    Args:
        function: (n, *input) -> (n, *output), row by row, differentiable.
        point: (*input) float32.
        k: The number of vectors.
        iterations: The largest number of iterations.
        tolerance: The iteration stops when the space changes by less than this sine.
        seed: The seed of the start.

    Raises:
        AnalysisError: the Jacobian is zero, or not finite.
    """
    d = point.numel()
    k = min(k, d)
    rng = torch.Generator().manual_seed(seed)
    basis = _orthonormal(torch.randn(k, d, generator=rng).to(point))
    change, done = 1.0, 0
    for done in range(1, iterations + 1):  # noqa: B007 - the number of iterations is used below
        image = forward_products(function, point, basis.view(k, *point.shape))
        pulled = backward_products(function, point, image)
        if not torch.isfinite(pulled).all() or float(pulled.abs().max()) == 0:
            raise AnalysisError(
                "this Jacobian is zero or not finite here: there is nothing that moves the output"
            )
        fresh = _orthonormal(pulled.reshape(k, d))
        overlap = torch.linalg.svdvals(fresh @ basis.T)
        change = float((1 - overlap.min().clamp(max=1) ** 2).clamp_min(0).sqrt())
        basis = fresh
        yield done / iterations
        if change < tolerance:
            break
    image = forward_products(function, point, basis.view(k, *point.shape))
    left, values, rotation = torch.linalg.svd(image.reshape(k, -1).T, full_matrices=False)
    return Singular(
        right=(rotation @ basis).view(k, *point.shape),
        left=left.T.reshape(image.shape),
        values=values,
        iterations=done,
        change=change,
    )


def forward_products(
    function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor, tangents: torch.Tensor
) -> torch.Tensor:
    """Returns J v for every tangent v (k, *input): (k, *output).

    It differentiates Jᵀ u, which is linear in u, because PyTorch lacks forward-mode rules for some
    operations in U-Nets.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):  # fused: once only
        rows = point.expand(len(tangents), *point.shape).clone().requires_grad_(True)
        output = function(rows)
        u = torch.zeros_like(output, requires_grad=True)
        (pulled,) = torch.autograd.grad(output, rows, u, create_graph=True)
        return torch.autograd.grad(pulled, u, tangents.clone().to(pulled))[0].float()


def backward_products(
    function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor, cotangents: torch.Tensor
) -> torch.Tensor:
    """Returns Jᵀ u for every cotangent u (k, *output): (k, *input)."""
    with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        rows = point.expand(len(cotangents), *point.shape).clone().requires_grad_(True)
        output = function(rows)
        return torch.autograd.grad(output, rows, cotangents.clone().to(output))[0].float()


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """Returns an orthonormal basis (k, d) of the span of rows (k, d)."""
    return torch.linalg.qr(rows.T.double())[0].T.to(rows)
