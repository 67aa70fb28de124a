"""MS-SSIM: SSIM over several scales, with the weights that its authors fitted to people's answers.

Contrast and structure are compared at every scale, and brightness at the last. Each scale is half
as large as the one before. The published measure has 5 scales, which needs pictures of at least 176
pixels a side. Smaller pictures have as many scales as fit. The published weights of these scales
are then scaled to sum to 1. The name of the result gives the number of scales.

References:
    Multi-scale Structural Similarity for Image Quality Assessment (Wang, Simoncelli, Bovik, 2003),
        https://doi.org/10.1109/ACSSC.2003.1292216
"""

from __future__ import annotations

import numpy as np

from ...analysis.similarity import LUMA, WINDOW
from ...analysis.swaps import Distance
from ...errors import UsageError
from ...readers.pretrained import first_line
from ..similarity import STRUCTURE, Opening, Similarity

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
BATCH = 16


def scales_of(side: int) -> int:
    """Counts the scales at which the window fits into a picture."""
    return sum(side // 2**scale >= WINDOW for scale in range(len(WEIGHTS)))


def open_ms_ssim(opening: Opening) -> dict[str, Distance]:
    """Opens 1 - MS-SSIM of two batches of pictures, on luma.

    Raises:
        UsageError: torchmetrics is not installed, or pictures are too small for two scales.
    """
    try:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"MS-SSIM needs torchmetrics ({first_line(error)}); install it with"
            ' `pip install "hcache[similarity]"`'
        ) from error
    import torch

    scales = scales_of(opening.side)
    if scales < 2:
        raise UsageError(
            f"MS-SSIM needs pictures of {2 * WINDOW} pixels a side, got {opening.side}; SSIM is"
            " measured without it"
        )
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(a), BATCH):
            one, other = (
                torch.from_numpy(each[start : start + BATCH] @ LUMA)[:, None] for each in (a, b)
            )
            found = multiscale_structural_similarity_index_measure(
                one, other, data_range=255.0, betas=tuple(weights), reduction="none"
            )
            parts.append(1 - found.reshape(-1).numpy())
        return np.concatenate(parts).astype(np.float64)

    return {f"MS-SSIM {scales} scales": distance}


SIMILARITY = Similarity(
    name="ms_ssim",
    title="MS-SSIM",
    begins="MS-SSIM",
    aspect=STRUCTURE,
    rewards="The same layout and edges, coarse ones more than SSIM; it hardly sees colours.",
    open=open_ms_ssim,
    cheap=True,
)
