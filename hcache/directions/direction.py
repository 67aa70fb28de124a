"""A direction at a site, with a unit that is the same for every model.

A direction is scaled so that the root mean square of Δh/σ over all steps, channels and places is 1.
σ is the standard deviation of h over samples at that step, channel and place. A strength multiplies
this move.

The site is h, unless ``made_by`` names another tensor: ``skip.2.0``, ``down.0``, ``mid.attn``,
``block.3`` of a transformer. Wherever a text says h, the same holds for the activations there.

A :class:`Direction` moves every sample by the same Δh. Other methods compute a Δh for each sample
(the VAE, Asyrp's blocks). Anything that moves h is a :class:`Move`, and all moves are fitted,
saved, listed and applied in the same way.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ..cache.layout import H
from ..cache.reading import Run
from ..errors import AnalysisError, NotStoredError, UsageError
from ..specs import FULL

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..sampling.loop import Moment

    Mover = Callable[[torch.Tensor, Moment, torch.Tensor], torch.Tensor]
    """A function from h (n, c, h, w), the moment in denoising, and strengths (n,) to the moved h in
    h's dtype. Strengths may be 0.
    """


class HasOrigin(Protocol):
    """Anything with a description of how it was made."""

    @property
    def made_by(self) -> Mapping[str, Any]:
        """The method and its settings."""
        ...


class Move(Protocol):
    """A move of h or of another site, as data.

    It is made once from a run, and applied to any sample of the same model. :func:`site_of` returns
    its site.
    """

    kind: ClassVar[str]

    @property
    def made_by(self) -> Mapping[str, Any]:
        """The method and its settings, which suffice to make it again."""
        ...

    @property
    def model(self) -> str:
        """The name of the model that it was fitted on."""
        ...

    @property
    def timesteps(self) -> tuple[float, ...]:
        """The timesteps of its steps.

        It is empty if the move works at any timestep.
        """
        ...

    def bind(self, model: Model) -> Mover:
        """Returns the function that applies it on a model's device.

        Raises:
            AnalysisError: the site has another shape in the model.
        """
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns its contents as arrays, for saving."""
        ...

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        made_by: Mapping[str, Any],
        model: str,
        timesteps: tuple[float, ...],
    ) -> Move:
        """Returns the move from the data of ``arrays``."""
        ...


def site_of(move: HasOrigin) -> str:
    """Returns the site that a move acts at.

    It is h, unless the description names another.
    """
    return str(move.made_by.get("site", H))


def named_samples(made_by: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Returns the ``positives`` or ``negatives`` that a direction names.

    ``made_by`` may come from a file of others. What is no number of a sample is left out.
    """
    named = made_by.get(name)
    return tuple(
        each for each in (named if isinstance(named, (list, tuple)) else ()) if type(each) is int
    )


def at_site(made_by: Mapping[str, Any], site: str) -> dict[str, Any]:
    """Returns the description of a move, with its site.

    h is left out, as in descriptions from before there were other sites.
    """
    return {**made_by, "site": site} if site != H else dict(made_by)


@runtime_checkable
class Resamplable(Protocol):
    """A move that can be interpolated to other steps."""

    def resampled(self, timesteps: tuple[float, ...]) -> Move:
        """Returns the move on other steps."""
        ...


def digest_of(move: Move) -> str:
    """Returns hex digits that identify a move.

    They are the first 12 digits of the SHA-256 of its arrays and its site.
    """
    found = hashlib.sha256(move.kind.encode())
    if (site := site_of(move)) != H:
        found.update(f" at {site} ".encode())
    for name, array in sorted(move.arrays().items()):
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A direction that is the same for every sample.

    ``delta``: Δh of strength 1. ``sigma``: σ. Both are (step, c, h, w) float32. ``made_by``: method
    and selection. ``length``: the root mean square in σ before the direction was scaled to unit
    length, for example the distance between two means. It is known right after the fit and is not
    stored; otherwise it is NaN.
    """

    kind: ClassVar[str] = "shift"

    delta: np.ndarray
    sigma: np.ndarray
    made_by: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    timesteps: tuple[float, ...] = ()
    length: float = math.nan

    @property
    def profile(self) -> np.ndarray:
        """Returns the root mean square of Δh/σ at each step (step,).

        It shows at which steps the direction is long.
        """
        return np.sqrt(np.square(in_sigmas(self.delta, self.sigma)).mean((1, 2, 3)))

    def cosine(self, other: Direction) -> float:
        """Returns the cosine between two directions.

        It is computed in units of σ over all steps.
        """
        a, b = in_sigmas(self.delta, self.sigma).ravel(), in_sigmas(other.delta, self.sigma).ravel()
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    def per_step(self) -> Direction:
        """Returns the direction with unit length at every step.

        Steps without length stay zero.
        """
        length = self.profile[:, None, None, None]
        delta = np.divide(self.delta, length, out=np.zeros_like(self.delta), where=length > 0)
        return replace(self, delta=delta, made_by={**self.made_by, "per_step": True})

    def resampled(self, timesteps: tuple[float, ...]) -> Direction:
        """Returns the direction on other steps.

        It is interpolated linearly in t. Beyond the first and the last step, their values are used.

        Raises:
            AnalysisError: it does not contain the steps that it was made on.
        """
        if not self.timesteps:
            raise AnalysisError(
                "this direction does not say which timesteps it was made on; fit it again"
            )
        known = np.asarray(self.timesteps, np.float64)
        order = np.argsort(known)
        place = np.interp(np.asarray(timesteps, np.float64), known[order], np.arange(len(known)))
        low = np.floor(place).astype(int)
        high, share = (
            np.minimum(low + 1, len(known) - 1),
            (place - low).astype(np.float32)[:, None, None, None],
        )

        def mix(values: np.ndarray) -> np.ndarray:
            """Interpolates values (step, ...) of its own steps to the other steps."""
            values = values[order]
            return (1 - share) * values[low] + share * values[high]

        made_by = {**self.made_by, "resampled_from": len(known)}
        return in_units(mix(self.delta), mix(self.sigma), made_by, self.model, tuple(timesteps))

    def bind(self, model: Model) -> Mover:
        """Returns the function that adds γ Δh_t on the model's device.

        Raises:
            AnalysisError: the model's h has another shape.
        """
        import torch

        check_shape(self.delta.shape[1:], model, site_of(self))
        delta = torch.from_numpy(np.ascontiguousarray(self.delta)).to(model.device)

        def move(h: torch.Tensor, moment: Moment, strengths: torch.Tensor) -> torch.Tensor:
            """Returns h + γ Δh of the step."""
            return h + (strengths.view(-1, 1, 1, 1) * delta[moment.index]).to(h.dtype)

        return move

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that are stored."""
        return {"delta": self.delta, "sigma": self.sigma}

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, np.ndarray],
        made_by: Mapping[str, Any],
        model: str,
        timesteps: tuple[float, ...],
    ) -> Direction:
        """Returns the direction that ``arrays`` gave these data."""
        # ty: ignore[invalid-argument-type]  # the arrays are those of arrays(), by name
        return cls(**arrays, made_by=made_by, model=model, timesteps=timesteps)


def in_units(
    delta: np.ndarray,
    sigma: np.ndarray,
    made_by: Mapping[str, Any],
    model: str = "",
    timesteps: tuple[float, ...] = (),
    least: float = 0.0,
) -> Direction:
    """Returns Δh (step, c, h, w) as a unit-length direction.

    Raises:
        AnalysisError: it is zero everywhere (its length is at most ``least``, in σ), or not finite.
    """
    length = float(np.sqrt(np.square(in_sigmas(delta, sigma).astype(np.float64)).mean()))
    if not np.isfinite(length) or length <= least:
        raise AnalysisError(
            "this direction has no length, because the two groups have the same mean h; choose"
            " other samples"
        )
    return Direction(
        delta=(delta / length).astype(np.float32),
        sigma=sigma.astype(np.float32),
        made_by=dict(made_by),
        model=model,
        timesteps=tuple(timesteps),
        length=length,
    )


ROUNDING = 1e-5
"""The smallest length in σ. A shorter difference of means is only rounding."""


def spread(run: Run, site: str = H) -> np.ndarray:
    """Returns σ of a site over the samples of a run.

    It is (step, c, h, w) float32.
    """
    if len(run) < 2:
        raise AnalysisError(
            f"the spread of {site} needs 2 samples or more; run {run.name} has {len(run)}"
        )
    check_full(run, site)
    shape = run.anatomy.shape(site)
    return np.stack(
        [run.matrix(site, step).std(0).reshape(shape) for step in range(run.spec.steps)]
    )


def check_full(run: Run, site: str = H) -> None:
    """Makes sure that a run stores a site in full.

    The site must be one tensor, not a group.

    A direction has a Δh at every place.

    Raises:
        NoUNetError: the site is h, and the model is a transformer.
        UnknownSiteError: the model does not have the site.
        UsageError: the site is a group of several tensors.
        NotStoredError: the run does not store the site, or stores it pooled.
    """
    if site == H:
        run.anatomy.need_unet("a direction in h")
    members = run.anatomy.members(site)
    if members != (site,):
        raise UsageError(
            f"a direction moves one tensor, and {site} has {len(members)}; name one of"
            f" {', '.join(members)}"
        )
    if run.policy(site) != FULL:
        raise NotStoredError(
            f"run {run.name} does not store {site} in full; extract again with --store"
            f" {_stored_as(site)}=full"
        )


def movable_sites(run: Run) -> tuple[str, ...]:
    """Lists the tensors that a direction can move.

    These are the ones that the run stores in full.
    """
    full = (site for site in run.stored_sites if run.policy(site) == FULL)
    return tuple(member for site in full for member in run.anatomy.members(site))


def check_movable(run: Run) -> tuple[str, ...]:
    """Returns the sites that a direction can move, if there are any.

    Raises:
        NotStoredError: the run stores no site in full.
    """
    sites = movable_sites(run)
    if not sites:
        site = H if run.anatomy.h else run.anatomy.sites[-1]
        why = f" ({run.anatomy.without})" if run.anatomy.without else ""
        raise NotStoredError(
            f"run {run.name} stores no site in full, and a direction moves such a site; extract"
            f" again with --store {site}=full{why}"
        )
    return sites


def _stored_as(site: str) -> str:
    """Returns the site that extraction stores: of a skip, its whole group."""
    return ".".join(site.split(".")[:2]) if site.startswith("skip.") else site


def check_shape(shape: tuple[int, ...], model: Model, site: str = H) -> None:
    """Makes sure that a Δh (c, h, w) matches a model's site."""
    if site == H:
        model.anatomy.need_unet("moving h")
    own = model.anatomy.h if site == H else model.anatomy.shape(site)
    if own is None or tuple(shape) != tuple(own):
        theirs, ours = ("x".join(map(str, s)) for s in (shape, own or ()))
        raise AnalysisError(
            f"this direction was made on another model: its {site} is {theirs}, that of"
            f" {model.card.name} is {ours}"
        )


def random_direction(
    sigma: np.ndarray,
    seed: int,
    model: str = "",
    timesteps: tuple[float, ...] = (),
    site: str = H,
) -> Direction:
    """Returns normal noise in units of σ, with unit length.

    This is a null. The noise is independent at every step, channel and place.
    """
    noise = np.random.default_rng(seed).standard_normal(sigma.shape).astype(np.float32)
    made_by = at_site({"method": "random", "seed": seed}, site)
    found = in_units(noise * sigma, sigma, made_by, model, timesteps)
    return replace(found, length=math.nan)  # noise has no length of its own


def in_sigmas(delta: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Returns Δh/σ, or zero where h does not vary."""
    return np.divide(delta, sigma, out=np.zeros_like(delta, np.float32), where=sigma > 0)
