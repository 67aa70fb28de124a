"""The effect of a swap: how much of the donor appears in the recipient.

The effect is measured over many pairs, and compared with other changes.

A recipient B is denoised again with the donor A's activations at a site, which gives R. For each
distance d (pixels, structure, colour; :mod:`.similarity`; and an image encoder's), with sums over
pairs:

    carried  1 - Σ d(R, A) / Σ d(B, A)    how much nearer to the donor than the recipient was:
                                          0 none, 1 if R is A
    moved        Σ d(R, B) / Σ d(A, B)    how far from the recipient, in whichever direction:
                                          0 not at all

For each reading r the regression over pairs is r_R = b r_A + c r_B + constant:

    carried  b     how far R follows the donor: 0 not at all, 1 in full
    kept     c     how far it still follows the recipient

**Controls** use the same recipients at the same site. R' with the activations of *another* donor is
compared with A. It shows the effect of any swap on the distance to A (the paired null of carried).
*Norm-matched noise* in place of A - B shows how far any change of that size moves the picture (the
null of moved). The recipient's *own* activations must change nothing. For pictures, p of carried
comes from exchanging R and R' at random. For readings, it comes from permuting the donors. Donors
must have been assigned to recipients at random.

**What the numbers mean.** The share of a distance is not the share of what was swapped. A site that
carries only the colours, but all of them, makes R equal to A in colours. In pixels it brings R
nearer to A by as much as colours contribute to pixels. What is carried *beyond another donor's* is
no share either. R' of another donor may be further from A than B was. The difference may therefore
be above 1 if everything is carried, and a true quarter may appear as less than a quarter.

**Undefined.** All numbers are relative to the distance of donor and recipient. If these are alike
in a quantity, there is nothing to carry, and the number would be noise over noise. It is then
undefined, and the reason is given. This is so if their distance is no more than ``ALIKE`` times
that of a change by one grey level, or if another donor's swap ends up ``FURTHER`` times as far from
the donor as the recipient was. A reading is undefined if the donors' readings, apart from the
recipients' part, vary by less than ``VARIED`` of the variation of the results.

References:
    Training-Free Style and Content Transfer by Leveraging U-Net Skip Connections in Stable
        Diffusion (Schaerf, Alfarano, Silvestri, Impett, 2025), https://arxiv.org/abs/2501.14524
    Causal Mediation Analysis for Interpreting Neural NLP: The Case of Gender Bias (Vig, Gehrmann,
        Belinkov, Qian, Nevo, Sakenis, Huang, Singer, Shieber, 2020),
        https://arxiv.org/abs/2004.12265, for exchanging activations as an experiment
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import AnalysisError
from .bootstrap import REPEATS, Statistic, bootstrap, bootstrap_many
from .estimate import LEVEL, Contrast, Estimate, not_exceeded
from .permutation import permutation_test, sign_flip_test
from .similarity import colour_distance, pixel_distance, structure_distance

ALIKE, FURTHER, VARIED = 3.0, 2.0, 0.1
"""Limits for donors and recipients that are too similar in a quantity; see above."""

PIXELS, STRUCTURE, COLOUR = "pixels", "structure", "colour"
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
DISTANCES: dict[str, Distance] = {
    PIXELS: pixel_distance,
    STRUCTURE: structure_distance,
    COLOUR: colour_distance,
}


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures (n, h, w, 3) uint8 and their readings.

    ``readings``: name -> (n,).
    """

    images: np.ndarray
    readings: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SwapEffect:
    """The effect of swapping a site on pictures.

    ``carried``: by quantity, compared with another donor's swap. The quantities are ``pixels``,
    ``structure``, ``colour``, ``embedding`` if there is an encoder, and every reading. ``moved``:
    by distance, compared with norm-matched noise. ``kept``: by reading. ``own``: the largest
    difference of any pixel value when the recipient is swapped with itself; None if this was not
    tried. ``pairs``: the number of pairs.
    """

    carried: Mapping[str, Contrast]
    moved: Mapping[str, Contrast]
    kept: Mapping[str, Estimate]
    own: float | None
    pairs: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SwapEffect:
        """Returns the effect from its fields in JSON."""
        carried, moved = (
            {name: Contrast.from_json(found) for name, found in data[key].items()}
            for key in ("carried", "moved")
        )
        kept = {name: Estimate.from_json(found) for name, found in data["kept"].items()}
        return cls(carried=carried, moved=moved, kept=kept, own=data["own"], pairs=data["pairs"])


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """The sites that carry a quantity.

    ``most``: the sites that no other is known to exceed, the largest first. They are not known to
    be equal. ``nothing``: the sites that are not known to carry it.
    """

    quantity: str
    sites: Mapping[str, Contrast]
    most: tuple[str, ...]
    nothing: tuple[str, ...]


def swap_effect(
    donor: Pictures,
    recipient: Pictures,
    swapped: Pictures,
    *,
    other: Pictures,
    noise: Pictures,
    own: Pictures | None = None,
    clusters: np.ndarray | None = None,
    distances: Mapping[str, Distance] = DISTANCES,
    repeats: int = REPEATS,
    seed: int = 0,
) -> SwapEffect:
    """Measures what a swap at one site carries over.

    Row i of all arguments is pair i of donor and recipient.

    Args:
        donor: A.
        recipient: B.
        swapped: R: B with A's activations.
        other: B with the activations of another, random donor.
        noise: B with noise of the norm of A - B added to its activations.
        own: B with its own activations.
        clusters: (n,) the recipient of each row, if recipients occur more than once. Its rows are
            resampled together.
        distances: Distances between pictures, by name; 0 for the same picture.
        repeats: The number of bootstrap draws over pairs.
        seed: The seed of these and of the permutations.

    Raises:
        AnalysisError: there are fewer than 4 pairs, shapes or readings do not match, or donors are
            the recipients.
    """
    parts = {
        "donor": donor,
        "recipient": recipient,
        "swapped": swapped,
        "other": other,
        "noise": noise,
    }
    _check(parts | ({} if own is None else {"own": own}))
    options: dict[str, Any] = {"repeats": repeats, "seed": seed, "clusters": clusters}
    carried, moved = _by_pictures(parts, distances, options)
    read, kept = _by_readings(parts, options)
    return SwapEffect(
        carried=carried | read,
        moved=moved,
        kept=kept,
        own=None if own is None else _largest(own.images, recipient.images),
        pairs=len(donor.images),
    )


def _by_pictures(
    parts: Mapping[str, Pictures], distances: Mapping[str, Distance], options: Mapping[str, Any]
) -> tuple[dict[str, Contrast], dict[str, Contrast]]:
    """Computes carried and moved, for every distance between pictures."""
    donor, recipient, swapped = parts["donor"], parts["recipient"], parts["swapped"]
    other, noise = parts["other"], parts["noise"]
    seed, clusters = options["seed"], options["clusters"]
    carried, moved = {}, {}
    for name, distance in distances.items():
        apart = distance(donor.images, recipient.images)
        if not apart.any() and np.array_equal(donor.images, recipient.images):
            raise AnalysisError(
                "donors and recipients are the same pictures: nothing could be carried; choose"
                " other pairs"
            )
        left = np.stack([distance(part.images, donor.images) for part in (swapped, other)], 1)
        gone = np.stack([distance(part.images, recipient.images) for part in (swapped, noise)], 1)
        p = float(
            sign_flip_test(_by_cluster(left[:, 1] - left[:, 0], clusters)[:, None], seed=seed)[0]
        )
        p = p / 2 if left[:, 1].sum() >= left[:, 0].sum() else 1 - p / 2  # only nearer counts
        if why := _alike(name, apart, left[:, 1], distance, recipient.images, seed):
            carried[name] = moved[name] = _undefined(why, len(apart))
            continue
        carried[name] = _contrast(_relative(left, apart, from_one=True), len(left), options, p)
        moved[name] = _contrast(_relative(gone, apart), len(gone), options)
    return carried, moved


def _by_readings(
    parts: Mapping[str, Pictures], options: Mapping[str, Any]
) -> tuple[dict[str, Contrast], dict[str, Estimate]]:
    """Computes carried and kept for every reading."""
    roles = [parts[role] for role in ("donor", "recipient", "swapped", "other")]
    carried, kept = {}, {}
    for name in parts["recipient"].readings:
        a, b, r, r_other = (np.asarray(x.readings[name], np.float64) for x in roles)
        if why := _hardly_varied(name, a, b, np.concatenate([r, r_other])):
            carried[name], kept[name] = _undefined(why, len(a)), Estimate.undefined(why, len(a))
            continue
        p = _p_of_following(a, b, r, options["seed"])
        statistic = _following(a, b, np.stack([r, r_other], 1))
        carried[name] = _contrast(lambda counts, s=statistic: s(counts)[:, 0], len(a), options, p)
        kept[name] = bootstrap(lambda counts, s=statistic: s(counts)[:, 1, 0], len(a), **options)
    return carried, kept


def which_carries(effects: Mapping[str, SwapEffect]) -> tuple[Carriers, ...]:
    """Returns for every quantity the sites that carry it.

    The input is the effects of all sites. A site carries a quantity if the interval of what it
    carries beyond another donor lies above 0 and p, times the number of sites, is at most 0.05.
    Undefined quantities are left out. The intervals of the sites' differences, at the level of the
    whole table, decide which site is known to carry more than another.
    """
    asked = sum(
        found.measured.defined for effect in effects.values() for found in effect.carried.values()
    )
    table = []
    quantities = dict.fromkeys(name for effect in effects.values() for name in effect.carried)
    for quantity in quantities:
        sites = {
            site: effect.carried.get(quantity) or _undefined("it was not measured", effect.pairs)
            for site, effect in effects.items()
        }
        proven = {
            site: found.excess
            for site, found in sites.items()
            if found.excess.defined
            and found.above_null
            and found.p is not None
            and found.p * len(sites) <= 1 - LEVEL + 1e-12
        }
        nothing = tuple(site for site in sites if site not in proven)
        most = not_exceeded(proven, max(1, asked * (len(sites) - 1) // 2))
        table.append(Carriers(quantity=quantity, sites=sites, most=most, nothing=nothing))
    return tuple(table)


def _check(parts: Mapping[str, Pictures]) -> None:
    shapes = {name: part.images.shape for name, part in parts.items()}
    if len(set(shapes.values())) != 1:
        raise AnalysisError(
            f"all pictures of a swap must have the same shape, with one row per pair; got {shapes}"
        )
    n = len(parts["donor"].images)
    if n < 4:
        raise AnalysisError(f"the effect of a swap takes 4 pairs or more, got {n}")
    names = list(parts["recipient"].readings)
    for role in ("donor", "swapped", "other"):
        if missing := [name for name in names if name not in parts[role].readings]:
            raise AnalysisError(
                f"the {role} has no reading of {', '.join(missing)}; read the same attributes from"
                " all pictures"
            )
    for name in names:
        for role in ("donor", "recipient", "swapped", "other"):
            values = np.asarray(parts[role].readings[name], np.float64)
            if values.shape != (n,) or not np.isfinite(values).all():
                raise AnalysisError(
                    f"the {role}'s {name} must be {n} finite numbers, one per pair; got"
                    f" {values.shape}"
                )


def _alike(
    name: str,
    apart: np.ndarray,
    other: np.ndarray,
    distance: Distance,
    images: np.ndarray,
    seed: int,
) -> str:
    """Returns why donors and recipients are too similar in a distance to measure carried, or ""."""
    grey = np.random.default_rng(seed).integers(0, 2, images.shape, np.uint8)
    least = float(
        distance(
            np.where(images < 255, images + grey, images - grey).astype(np.uint8), images
        ).mean()
    )
    mean, further = float(apart.mean()), float(other.mean())
    if mean <= ALIKE * least:
        return (
            f"donors and recipients are alike in {name}: their distance is {mean:.2g}, and one"
            f" grey level makes {least:.2g}; choose other pairs"
        )
    if further > FURTHER * mean:
        return (
            f"donors and recipients are alike in {name}: their distance is {mean:.2g}, and another"
            f" donor's swap ends up {further:.2g} away; choose other pairs"
        )
    return ""


def _hardly_varied(name: str, a: np.ndarray, b: np.ndarray, results: np.ndarray) -> str:
    """Returns why donors' readings (n,) vary too little, apart from the recipients' part, to be
    followed, or "".
    """
    if np.ptp(a) == 0:
        return f"all donors have the same {name}, so it is unknown whether it is carried"
    basis = np.stack([np.ones(len(b)), b], 1)
    rest = a - basis @ np.linalg.lstsq(basis, a, rcond=None)[0]
    spread, noise = float(rest.std()), float(results.std())
    if spread >= VARIED * noise and spread > 0:
        return ""
    return (
        f"donors hardly differ in {name} apart from the recipients' part: their spread is"
        f" {spread:.2g}, and that of the results {noise:.2g}; choose other pairs"
    )


def _undefined(why: str, n: int) -> Contrast:
    nothing = Estimate.undefined(why, n)
    return Contrast(measured=nothing, null=nothing, excess=nothing)


def _contrast(
    statistic: Statistic, n: int, options: Mapping[str, Any], p: float | None = None
) -> Contrast:
    """Returns the contrast of a statistic of (measured, null): counts (r, n) -> (r, 2)."""

    def with_excess(counts: np.ndarray) -> np.ndarray:
        found = statistic(counts)
        return np.concatenate([found, found[:, :1] - found[:, 1:]], 1)

    measured, null, excess = bootstrap_many(with_excess, n, **options)
    return Contrast(measured=measured, null=null, excess=excess, p=p)


def _relative(distances: np.ndarray, apart: np.ndarray, from_one: bool = False) -> Statistic:
    """Returns sums of distances (n, 2) over the sum of those between the pairs (n,), or 1 minus
    that.
    """

    def statistic(counts: np.ndarray) -> np.ndarray:
        below = (counts @ apart)[:, None]
        found = np.divide(
            counts @ distances, below, out=np.full((len(counts), 2), np.nan), where=below > 0
        )
        return 1 - found if from_one else found

    return statistic


def _following(a: np.ndarray, b: np.ndarray, results: np.ndarray) -> Statistic:
    """Returns weights of donor and recipient in each of the results (n, 2): counts (r, n) -> (r,
    [donor, recipient], 2).
    """
    x = np.stack([a - a.mean(), b - b.mean()], 1)
    y = results - results.mean(0)

    def statistic(counts: np.ndarray) -> np.ndarray:
        share = counts / counts.sum(1, keepdims=True)
        mean_x, mean_y = share @ x, share @ y
        xx = (
            np.einsum("rn,ni,nj->rij", share, x, x, optimize=True)
            - mean_x[:, :, None] * mean_x[:, None]
        )
        xy = (
            np.einsum("rn,ni,nj->rij", share, x, y, optimize=True)
            - mean_x[:, :, None] * mean_y[:, None]
        )
        return np.linalg.pinv(xx, hermitian=True) @ xy

    return statistic


def _p_of_following(a: np.ndarray, b: np.ndarray, r: np.ndarray, seed: int) -> float:
    """Returns p that the result follows the donor as much when donors are permuted. The test is
    one-sided.

    The recipient's part is first removed from donor and result.
    """
    basis = np.stack([np.ones(len(b)), b], 1)

    def rest(values: np.ndarray) -> np.ndarray:
        return values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]

    remaining = rest(r)

    def statistic(orders: np.ndarray) -> np.ndarray:
        given = rest(a[orders].T)
        squares = np.square(given).sum(0)
        return np.divide(remaining @ given, squares, out=np.zeros(len(orders)), where=squares > 0)

    return permutation_test(statistic, len(a), seed=seed)[1]


def _by_cluster(values: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Returns sums over each cluster, whose signs flip together."""
    if clusters is None:
        return values
    return np.bincount(np.unique(clusters, return_inverse=True)[1], values)


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
