"""The leading eigenvectors of a matrix that is known by its products with a few vectors only.

With A (n, n) symmetric and positive semi-definite, and Ω (n, l) random, the eigenvectors are looked
for in the span of

    Ω, A Ω, A² Ω, ...

which takes one pass over the data for each block. It ends when what is found is an eigenvector
within ``tolerance``: ‖A v - θ v‖ ≤ tolerance · θ, by which the angle to the true one is at most
tolerance · θ / gap to the next eigenvalue.

References:
    Randomized Block Krylov Methods for Stronger and Faster Approximate Singular Value Decomposition
    (Musco, Musco, 2015), https://arxiv.org/abs/1504.05477
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

Product = np.ndarray
"""The product of A with the yielded block, (n, l) float64."""


def leading_vectors(
    n: int,
    count: int,
    tolerance: float = 1e-3,
    blocks: int = 8,
    oversampling: int = 10,
    seed: int = 0,
) -> Generator[np.ndarray, Product, np.ndarray | None]:
    """Finds the leading eigenvectors of a symmetric matrix, block by block.

    It yields blocks V (n, l) and is sent A V. It returns the ``count`` leading eigenvectors (n,
    count), largest first. It returns None if ``blocks`` products were not enough, because the
    eigenvalues are too close.
    """
    rng = np.random.default_rng(seed)
    block = np.linalg.qr(rng.standard_normal((n, min(n, count + oversampling))))[0]
    basis, images = np.zeros((n, 0)), np.zeros((n, 0))
    for _ in range(blocks):
        product = yield block
        basis, images = np.hstack([basis, block]), np.hstack([images, product])
        small = basis.T @ images
        values, inner = np.linalg.eigh((small + small.T) / 2)
        values, inner = values[::-1][:count], inner[:, ::-1][:, :count]
        vectors = basis @ inner
        residuals = np.linalg.norm(images @ inner - vectors * values, axis=0)
        if (residuals <= tolerance * values).all() or basis.shape[1] + block.shape[1] > n:
            return vectors if (residuals <= tolerance * values).all() else None
        block = product
        for _ in range(2):  # one pass is not enough for vectors that are nearly in the span already
            block = np.linalg.qr(block - basis @ (basis.T @ block))[0]
    return None
