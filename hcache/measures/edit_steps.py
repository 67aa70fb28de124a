"""Which steps to edit in, chosen as Asyrp chooses them: by LPIPS along the inversion of pictures.

Pictures x_0 are inverted by DDIM. At every timestep t the distance of the predicted x_0 from the
picture is averaged over pictures. With the cosine of CLIP's embeddings of the two texts of an edit,

    t_edit    the least t with mean LPIPS(P_t, x_0) ≥ 0.33 · cos(source text, target text)
    t_boost   the least t with mean LPIPS(P_t, x_0) ≥ 0.1, or of x_t itself ≥ 1.2

The edit acts in the steps with t ≥ t_edit, and noise is added in those with t < t_boost. The
published code chooses among the timesteps of its inversion, and so does this: with few steps t_edit
is coarse. The thresholds are LPIPS's with AlexNet. Another distance has no published thresholds, so
they have to be said.

For the CelebA-HQ model of the paper the authors give t_edit 513 (smiling), 513 (sad), 515 (young),
446 (Pixar), 403 (Modigliani), and t_boost 167.

References:
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022),
        https://arxiv.org/abs/2210.10960, sections 3.3 and 3.4
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..analysis.bootstrap import PERCENTILE, bootstrap
from ..analysis.estimate import Estimate
from ..analysis.swaps import Distance
from ..cache.reading import Run
from ..errors import AnalysisError, ModelError, UsageError
from ..models.model import Model
from ..recipes.window import Window
from ..sampling.inversion import InversionStep, inversion_steps
from ..similarities.registry import SIMILARITIES
from ..similarities.similarity import Opening

PUBLISHED = "lpips"
EDIT, BOOST, BOOST_FROM_X = 0.33, 0.1, 1.2
"""LPIPS at which an edit ends, and at which noise begins: of P_t, and of x_t."""

SAMPLES = 32
"""Pictures that the distance is averaged over, where nothing else is said."""

BATCH = 16
ROUNDING = 1e-9
"""By which a mean that equals the threshold may fall below it."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The thresholds by which steps are chosen.

    ``edit`` is multiplied by ``cosine``, that of the texts' embeddings. ``from_x``: the boost is
    chosen by the distance of x_t, not of P_t.
    """

    cosine: float
    edit: float = EDIT
    boost: float = BOOST
    from_x: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.cosine <= 1:
            raise UsageError(
                "the cosine of the texts' embeddings lies above 0 and is at most 1, got"
                f" {self.cosine:g}"
            )
        for name in ("edit", "boost"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UsageError(
                    f"the threshold of {name} is a number above 0, got {getattr(self, name)}"
                )


@dataclass(frozen=True, kw_only=True)
class EditSteps:
    """Timesteps chosen by a distance along an inversion.

    ``timesteps`` (s,) go up. ``distances`` (s, n) are those of P_t from the pictures, ``of_x``
    those of x_t, (0, n) where they were not asked for. ``t_edit`` and ``t_boost`` come with an
    interval over pictures; an end at the highest timestep means: there or above.
    """

    timesteps: tuple[float, ...]
    distances: np.ndarray
    of_x: np.ndarray
    t_edit: Estimate
    t_boost: Estimate

    def window(self, run: Run) -> Window:
        """The steps of a run with t ≥ t_edit."""
        return Window.down_to(run.timesteps, self.t_edit.value)


def choose_steps(
    model: Model,
    run: Run,
    distance: Distance,
    rule: Rule,
    *,
    samples: Sequence[int] = (),
    steps: int = 0,
) -> Generator[float, None, EditSteps]:
    """Chooses t_edit and t_boost along the inversion of pictures.

    Yields the share done.

    Args:
        model: The run's.
        run: Whose pictures are inverted.
        distance: Of two batches of pictures, (n,); see :mod:`hcache.similarities`.
        rule: Thresholds.
        samples: Whose pictures; the first 32 if empty.
        steps: Of the inversion; the run's if 0.

    Raises:
        UsageError: fewer than 2 samples or 3 steps.
        AnalysisError: the distance never reaches a threshold.
    """
    chosen = list(samples) or run.sample_ids[:SAMPLES].tolist()
    count = steps or run.spec.steps
    if len(chosen) < 2 or count < 3:
        raise UsageError(
            f"steps are chosen by 2 pictures or more and along 3 steps or more; got {len(chosen)}"
            f" and {count}"
        )
    timesteps: list[float] = []
    rows, of_x = [], []
    for start in range(0, len(chosen), BATCH):
        part, noisy, timesteps = [], [], []
        of_batch = chosen[start : start + BATCH]
        pictures = np.stack([run.picture(sample) for sample in of_batch])
        for step in _steps(model, run, pictures, of_batch, count):
            share = (start + len(of_batch) * (count - step.index) / count) / len(chosen)
            yield share
            if step.clean:
                continue
            timesteps.append(step.t)
            part.append(distance(_pictures(model, step.x_0, of_batch), pictures))
            if rule.from_x:
                noisy.append(distance(_pictures(model, step.x_t, of_batch), pictures))
        rows.append(np.reshape(part, (-1, len(of_batch))))
        of_x.append(np.reshape(noisy, (-1, len(of_batch))))
    distances, from_x = (np.concatenate(each, axis=1) for each in (rows, of_x))
    return EditSteps(
        timesteps=tuple(timesteps),
        distances=distances,
        of_x=from_x,
        t_edit=crossing(timesteps, distances, rule.edit * rule.cosine, "t_edit"),
        t_boost=crossing(timesteps, from_x if rule.from_x else distances, rule.boost, "t_boost"),
    )


def crossing(
    timesteps: Sequence[float], distances: np.ndarray, threshold: float, name: str
) -> Estimate:
    """The least t at which the mean distance reaches a threshold.

    ``distances`` are (s, n), of s timesteps and n pictures. The interval is a bootstrap over the
    pictures. In a draw that never reaches the threshold, t is the highest.

    Raises:
        AnalysisError: the mean of all never reaches it, or distances are not finite.
    """
    if not np.isfinite(distances).all():
        raise AnalysisError(f"the distances for {name} are not finite; choose another distance")
    at, means = np.asarray(timesteps, np.float64), distances.mean(1)
    threshold *= 1 - ROUNDING
    if not (means >= threshold).any():
        raise AnalysisError(
            f"{name} is not known: the mean distance reaches {means.max():.3g} at most, expected"
            f" {threshold:.3g} at some t; choose other texts, or another threshold"
        )

    def statistic(counts: np.ndarray) -> np.ndarray:
        reached = counts @ distances.T / counts.sum(1, keepdims=True) >= threshold
        return np.where(reached.any(1), at[reached.argmax(1)], at[-1])

    return bootstrap(statistic, distances.shape[1], method=PERCENTILE)


def cosine_of(model: str, source: str, target: str, device: str = "auto") -> float:
    """The cosine of a CLIP model's embeddings of two texts.

    Asyrp has ViT-B/16 of OpenAI.

    Raises:
        UsageError: a text is empty.
        ModelError: the model is not to be had, or embeds no texts.
    """
    from ..readers.encoder import load_encoder

    if not (source.strip() and target.strip()):
        raise UsageError(
            "give two texts: what pictures show (face) and what they are to show (smiling face)"
        )
    one, other = load_encoder(model, "", device, True).texts([source, target])
    return float(one @ other)


def distance_for(name: str, side: int, encoder: str = "", device: str = "auto") -> Distance:
    """Opens the distance that steps are chosen by.

    Args:
        name: Of a similarity; ``lpips`` is the published one.
        side: Pixels of the shorter side of the pictures.
        encoder: An image encoder, for those that need one.
        device: To compute on.

    Raises:
        UsageError: a package is missing, or the similarity is no distance.
        ModelError: weights are missing.
    """
    similarity = SIMILARITIES[name]
    if similarity.directed:
        raise UsageError(f"{similarity.title} is no distance between pictures; choose another")
    try:
        found = similarity.open(Opening(side=side, source=encoder, device=device))
    except (UsageError, ModelError) as error:
        if name != PUBLISHED:
            raise
        raise type(error)(
            f"{error}. Or choose another distance by name; it has no published thresholds, so say"
            " those too"
        ) from error
    return next(iter(found.values()))


def rule_for(
    name: str,
    cosine: float,
    edit: float | None = None,
    boost: float | None = None,
    from_x: bool = False,
) -> Rule:
    """The thresholds of a distance.

    They are the published ones of LPIPS, or those that are said.

    Raises:
        UsageError: another distance than LPIPS without thresholds.
    """
    if name != PUBLISHED and (edit is None or boost is None):
        raise UsageError(
            f"{name} has no published thresholds; say both, for the edit and for the boost"
        )
    usual = BOOST_FROM_X if from_x else BOOST
    return Rule(
        cosine=cosine,
        edit=EDIT if edit is None else edit,
        boost=usual if boost is None else boost,
        from_x=from_x,
    )


def _steps(
    model: Model, run: Run, pictures: np.ndarray, samples: Sequence[int], steps: int
) -> Iterator[InversionStep]:
    """The inversion of pictures (n, height, width, 3) uint8 of some samples."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(model.device).float() / 127.5 - 1
    x_0 = model.codec.encode(pixels)[:, : model.anatomy.x[0]]
    conditioning = run.spec.inverting.rows(samples)
    return inversion_steps(model, x_0, steps, conditioning, run.spec.schedule)


def _pictures(model: Model, x: torch.Tensor, samples: Sequence[int]) -> np.ndarray:
    return model.to_images(x, samples).numpy()
