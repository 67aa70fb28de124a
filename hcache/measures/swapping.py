"""The effect of swaps over many pairs of donor and recipient: h and every skip group, each alone,
with all controls.

Donors are assigned to recipients at random. The activations of donors come from ``encode`` of their
cached x_t, once per step for a whole batch of pairs. Norm-matched noise is normal. In every tensor
of every pair it is scaled to the norm of A - B.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch

from ..analysis.swaps import Pictures, swap_effect
from ..cache.records import Record
from ..edits.cached import cached_x
from ..errors import UnknownSiteError, UsageError
from ..features import Features
from ..models.taps import Passing
from ..progress import part
from ..recipes.window import Window
from ..sampling.conditions import conditions_of
from ..sampling.loop import Moment
from ..specs import ATTENTION, is_place
from .driver import Change, Driver
from .groups import groups_among, of_groups
from .kinds import SWAP
from .stored import Pictured, measured

DONOR, OTHER, NOISE, OWN = "donor", "other", "noise", "own"
SHOWN = 6
"""The number of pairs whose pictures are stored for viewing."""

COLUMNS = ("recipient", "donor", "swapped", "another donor", "noise of the same norm")
"""The titles of the columns of the stored pictures. There is one row per pair."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Recipients with their donors, and another donor as control.

    The three samples of row i are different.
    """

    recipients: tuple[int, ...]
    donors: tuple[int, ...]
    others: tuple[int, ...]

    @classmethod
    def draw(cls, samples: Sequence[int], count: int, seed: int = 0) -> Pairs:
        """Draws pairs from the samples.

        Each sample is at most once a recipient, once a donor, and once another donor.

        Raises:
            UsageError: there are not enough samples.
        """
        if not 4 <= count <= len(samples):
            raise UsageError(
                f"pairs are 4 or more, and no more than the {len(samples)} samples; got {count}"
            )
        order = np.random.default_rng(seed).permutation(np.asarray(samples))
        roles = [
            tuple(int(sample) for sample in np.roll(order, -shift)[:count]) for shift in (0, 1, 2)
        ]
        return cls(recipients=roles[0], donors=roles[1], others=roles[2])


def swaps(
    driver: Driver,
    pairs: Pairs,
    window: Window,
    sites: Sequence[str] | None = None,
    *,
    own: bool = True,
    repeats: int = 2000,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Generator[float, None, dict[str, Record]]:
    """Measures the effect of swapping each site in a window of steps.

    It yields the share that is done, and returns a record for every site. ``own``: recipients are
    also swapped with themselves, which must change nothing. The result of a record is a
    :class:`~hcache.analysis.swaps.SwapEffect`. Each is stored as soon as it is known, so cancelled
    work continues where it stopped. :mod:`.evidence` makes a table from them. ``groups``: the group
    of each of the run's samples (n,). Intervals and tests are over the groups of recipients.
    """
    chosen = tuple(driver.run.anatomy.sites if sites is None else sites)
    _check_sites(driver, chosen)
    among = groups_among(driver.run, groups, pairs.recipients)
    common = {
        **of_groups(among),
        "pairs": asdict(pairs),
        "window": asdict(window),
        "reader": driver.reader_name,
        "own": own,
        "repeats": repeats,
        "seed": seed,
        **driver.beyond_pictures,
    }
    records: dict[str, Record] = {}
    for done, site in enumerate(chosen):

        def compute(site: str = site) -> Generator[float, None, Pictured]:
            """Computes the effect of swapping one site, with its pictures."""
            made = yield from _pictures(driver, pairs, window, site, seed, own)
            donors, recipients = (_stored(driver, c) for c in (pairs.donors, pairs.recipients))
            effect = swap_effect(
                donors,
                recipients,
                made[DONOR],
                other=made[OTHER],
                noise=made[NOISE],
                own=made.get(OWN),
                clusters=among,
                distances=driver.distances,
                repeats=repeats,
                seed=seed,
            )
            shown = (recipients, donors, made[DONOR], made[OTHER], made[NOISE])
            return Pictured(
                result=effect, pictures=np.stack([each.images[:SHOWN] for each in shown], 1)
            )

        work = measured(driver.run, SWAP, {"site": site, **common}, compute)
        records[site] = yield from part(work, done / len(chosen), 1 / len(chosen))
    return records


def _check_sites(driver: Driver, sites: Sequence[str]) -> None:
    """Refuses a site that the model does not have."""
    for site in sites:
        if site == ATTENTION:
            raise UnknownSiteError("attention maps are only stored; choose h, a skip or a place")
        if is_place(site):  # a run of before does not name its model's
            driver.model.anatomy.members(site)
        else:
            driver.run.anatomy.members(site)


class PairSwap:
    """Replaces tensors of one site, row i by ``donors[i]``.

    Instead, it can add noise with the norm of the difference.
    """

    def __init__(
        self,
        driver: Driver,
        site: str,
        donors: Sequence[int],
        window: Window,
        noise: int | None = None,
    ) -> None:
        self.driver, self.donors, self.window, self.noise = driver, list(donors), window, noise
        members = driver.model.anatomy.members(site)
        self.places = tuple(member for member in members if is_place(member))
        self.members = tuple(member for member in members if not is_place(member))
        self.at_places = {place: partial(self._at, place) for place in self.places}

    def _at(self, place: str, moment: Moment) -> Passing | None:
        if moment.index not in self.window:
            return None
        given = self.donated(moment)[place]

        def change(x: torch.Tensor, rows: slice) -> torch.Tensor:
            a = given[rows].to(x)
            if self.noise is None:
                return a
            return x + self._noise_like(a - x, moment.index, 0, self.donors[rows])

        return change

    def __call__(self, features: Features, moment: Moment) -> Features:
        if moment.index not in self.window or not self.members:
            return features
        given = self.donated(moment)
        changes = {}
        for number, member in enumerate(self.members):
            a, b = given[member].to(features[member]), features[member]
            changes[member] = (
                a
                if self.noise is None
                else b + self._noise_like(a - b, moment.index, number, self.donors)
            )
        return features.replace(changes)

    def donated(self, moment: Moment) -> Features:
        """Returns the donors' features at a step, in a branch of guidance."""
        model, run = self.driver.model, self.driver.run
        guided = conditions_of(model, run, self.donors).at(moment.index)
        x = torch.cat([cached_x(model, run, sample, moment.index) for sample in self.donors])
        condition = guided.branches[moment.branch]
        if self.places:
            return model.trace(x, moment.t, condition, self.places)[0]
        return model.encode(x, moment.t, condition)

    def _noise_like(
        self, difference: torch.Tensor, index: int, number: int, donors: Sequence[int]
    ) -> torch.Tensor:
        """Returns normal noise, every row with the norm of the difference. It is the same in all
        branches of guidance.
        """
        rows = []
        for sample, row in zip(donors, difference, strict=True):
            rng = np.random.default_rng([self.noise, sample, index, number])
            noise = torch.from_numpy(rng.standard_normal(tuple(row.shape), np.float32)).to(row)
            rows.append(noise * (row.norm() / noise.norm()))
        return torch.stack(rows)


def _pictures(
    driver: Driver, pairs: Pairs, window: Window, site: str, seed: int, own: bool
) -> Generator[float, None, dict[str, Pictures]]:
    """Returns the recipients with each of the replacements at a site."""
    plans = {DONOR: (pairs.donors, None), OTHER: (pairs.others, None), NOISE: (pairs.donors, seed)}
    plans |= {OWN: (pairs.recipients, None)} if own else {}
    made = {}
    for done, (name, (donors, noise)) in enumerate(plans.items()):

        def change(
            rows: slice, donors: tuple[int, ...] = donors, noise: int | None = noise
        ) -> Change:
            return Change(edit=PairSwap(driver, site, donors[rows], window, noise))

        work = driver.images(pairs.recipients, change, window.first, asymmetric=False)
        images = yield from part(work, done / len(plans), 1 / len(plans))
        made[name] = Pictures(images=images, readings=driver.reader(images))
    return made


def _stored(driver: Driver, samples: Sequence[int]) -> Pictures:
    images = driver.unedited(samples)
    return Pictures(images=images, readings=driver.reader(images))
