"""A recipe of every kind on the tiny run, and what they give."""

import dataclasses

import pytest
from tiny import drain

from hcache.directions.direction import digest_of, random_direction, spread
from hcache.directions.fitting import Fit
from hcache.edits.distance import DistanceEdit
from hcache.edits.recipe_directions import reference_to
from hcache.edits.render import render_recipes
from hcache.edits.shift import ShiftEdit
from hcache.edits.slerp import SlerpEdit
from hcache.edits.swap import SwapEdit
from hcache.recipes.edits import DonorRef, changed
from hcache.recipes.masks import Mask
from hcache.recipes.recipe import recipe_of
from hcache.recipes.window import Window

ALWAYS = Window(first=0, last=3)
MASK = Mask(rectangle=(0.1, 0.2, 0.7, 0.9))
KINDS = (
    "nothing",
    "shift",
    "shift, strength 0",
    "shift, per step, masked",
    "swap",
    "swap late, falling",
    "slerp",
    "slerp, rising, masked",
    "all",
    "distance",
    "distance, masked",
    "asymmetric",
    "boosted",
    "asymmetric, boosted",
)


def noise_of(tiny_run):
    made_by = Fit(method="random", run=tiny_run.name).to_json()
    found = random_direction(spread(tiny_run), 0, tiny_run.spec.model, tiny_run.timesteps)
    return dataclasses.replace(found, made_by=made_by)


def recipes_of(tiny_run, direction):
    """One of every kind, with windows, shapes and masks, from several samples."""
    donor, ref = DonorRef(run=tiny_run.name, sample=3), reference_to(direction, "noise")
    late, swap = (
        Window(first=2, last=3),
        SwapEdit(sites=("skip.2",), donor=donor, alpha=1.0, window=ALWAYS),
    )
    shift = ShiftEdit(direction=ref, strength=2.0, window=ALWAYS)
    edits = {
        "nothing": [],
        "shift": [shift],
        "shift, strength 0": [changed(shift, strength=0)],
        "shift, per step, masked": [changed(shift, per_step=True, mask=MASK)],
        "distance": [DistanceEdit(direction=ref, distance=1.5, step=1)],
        "distance, masked": [
            DistanceEdit(direction=ref, distance=-2, origin=0.25, step=2, mask=MASK)
        ],
        "swap": [swap],
        "swap late, falling": [
            changed(
                swap,
                sites=("h", "skip.1.1"),
                alpha=0.5,
                window=Window(first=1, last=3, shape="falling"),
            )
        ],
        "slerp": [SlerpEdit(donor=donor, window=late)],
        "slerp, rising, masked": [
            SlerpEdit(
                donor=donor, gamma=0.9, mask=MASK, window=Window(first=0, last=2, shape="rising")
            )
        ],
        "all": [shift, swap, SlerpEdit(donor=donor, window=late)],
    }
    found = {
        name: recipe_of(tiny_run, 5 + i % 3, list_) for i, (name, list_) in enumerate(edits.items())
    }
    found["asymmetric"] = dataclasses.replace(found["shift"], asymmetric=True)
    found["boosted"] = dataclasses.replace(found["swap late, falling"], t_boost=600)
    found["asymmetric, boosted"] = dataclasses.replace(found["all"], asymmetric=True, t_boost=300)
    return found


def cells_of(tiny_model, tiny_run, recipes, direction):
    shares, found = drain(
        render_recipes(
            tiny_model,
            tiny_run,
            list(recipes.values()),
            tiny_run.home,
            {digest_of(direction): direction},
        )
    )
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    return dict(zip(recipes, found, strict=True))
