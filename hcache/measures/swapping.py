"""The effect of swaps over many pairs of donor and recipient: h and every skip group, each alone,
with all controls.

Donors are assigned to recipients at random. The swaps themselves are in
:mod:`~hcache.edits.pair_swap`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..analysis.swaps import Pictures, swap_effect
from ..cache.records import Record
from ..edits.declared import Donated
from ..errors import UnknownSiteError, UsageError
from ..recipes.window import Window
from ..specs import ATTENTION, is_place
from .driver import Driver
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
    works = []
    for site in chosen:

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

        works.append(measured(driver.run, SWAP, {"site": site, **common}, compute))
    return dict(zip(chosen, (yield from driver.all_of(works)), strict=True))


def _check_sites(driver: Driver, sites: Sequence[str]) -> None:
    """Refuses a site that the model does not have."""
    for site in sites:
        if site == ATTENTION:
            raise UnknownSiteError("attention maps are only stored; choose h, a skip or a place")
        if is_place(site):  # a run of before does not name its model's
            driver.model.anatomy.members(site)
        else:
            driver.run.anatomy.members(site)


def _pictures(
    driver: Driver, pairs: Pairs, window: Window, site: str, seed: int, own: bool
) -> Generator[float, None, dict[str, Pictures]]:
    """Returns the recipients with each of the replacements at a site."""
    plans = {DONOR: (pairs.donors, None), OTHER: (pairs.others, None), NOISE: (pairs.donors, seed)}
    plans |= {OWN: (pairs.recipients, None)} if own else {}
    works = []
    for donors, noise in plans.values():
        change = Donated(site=site, donors=donors, window=window, noise=noise)
        works.append(driver.images(pairs.recipients, change, window.first, asymmetric=False))
    made = yield from driver.all_of(works)
    return {
        name: Pictures(images=images, readings=driver.reader(images))
        for name, images in zip(plans, made, strict=True)
    }


def _stored(driver: Driver, samples: Sequence[int]) -> Pictures:
    images = driver.unedited(samples)
    return Pictures(images=images, readings=driver.reader(images))
