"""The boundary method's edit: to an absolute distance along a direction, at one step."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import drain

from hcache.directions.direction import digest_of, in_sigmas
from hcache.edits.distance import (
    DistanceEdit,
    ToDistance,
    distances_of,
    normal_at,
    one_direction,
    origin_of,
)
from hcache.edits.render import reference_to, render_recipes
from hcache.errors import AnalysisError, UsageError
from hcache.features import Features
from hcache.recipes.recipe import recipe_of
from hcache.sampling.loop import Moment

STEP = 2


def features_of(h):
    return Features(h=torch.as_tensor(h, dtype=torch.float32), skips=())


def along(direction, h):
    """c·n of each row in the unit of strengths, as the definition has it, in float64."""
    z = in_sigmas(direction.delta[STEP], direction.sigma[STEP]).astype(np.float64)
    n = z / np.linalg.norm(z)
    c = np.asarray(h, np.float64) / np.where(
        direction.sigma[STEP] > 0, direction.sigma[STEP], np.inf
    )
    return (c * n).reshape(len(c), -1).sum(1) / np.sqrt(n.size)


@settings(max_examples=20, deadline=None)
@given(distance=st.floats(-20, 20), origin=st.floats(-3, 3), seed=st.integers(0, 99))
def test_every_sample_ends_at_the_distance_and_moves_along_the_normal_alone(
    direction, distance, origin, seed
):
    h = 5 * torch.randn(
        (3, *direction.delta.shape[1:]), generator=torch.Generator().manual_seed(seed)
    )
    edit, moment = ToDistance(direction, distance, origin, STEP), Moment(index=STEP, t=250)
    once = edit(features_of(h), moment)
    np.testing.assert_allclose(along(direction, once.h), distance + origin, atol=1e-4)
    np.testing.assert_allclose(edit(once, moment).h, once.h, atol=1e-4)
    normal, sigma = normal_at(direction, STEP)
    assert np.sqrt(np.square(normal).mean()) == pytest.approx(1, abs=1e-5)
    way = (once.h - h).numpy() / np.where(sigma > 0, sigma, 1)
    missing = distance + origin - along(direction, h)
    np.testing.assert_allclose(way, missing[:, None, None, None] * normal, atol=1e-3)


def test_at_other_steps_nothing_is_touched(direction):
    features = features_of(torch.ones((1, *direction.delta.shape[1:])))
    assert ToDistance(direction, 3, 0, STEP)(features, Moment(index=1, t=500)) is features


def test_distances_are_counted_from_the_middle_of_the_run(tiny_run, direction):
    h = tiny_run.matrix("h", STEP).reshape(-1, *tiny_run.anatomy.h)
    np.testing.assert_allclose(
        distances_of(tiny_run, direction, STEP), along(direction, h), atol=1e-6
    )
    assert origin_of(tiny_run, direction, STEP) == pytest.approx(
        along(direction, h).mean(), abs=1e-6
    )


def test_a_sample_put_where_it_is_stays_as_it_was(tiny_model, tiny_run, direction):
    """And one put elsewhere does not: the edit is absolute."""
    there = distances_of(tiny_run, direction, STEP)[4]
    edits = [
        DistanceEdit(direction=reference_to(direction), distance=d, step=STEP)
        for d in (there, there + 5)
    ]
    recipes = [recipe_of(tiny_run, int(tiny_run.sample_ids[4]), [edit]) for edit in edits]
    _, (same, other) = drain(
        render_recipes(
            tiny_model, tiny_run, recipes, tiny_run.home, {digest_of(direction): direction}
        )
    )
    assert np.abs(same.picture.astype(int) - tiny_run.images[4]).max() <= 1
    assert np.abs(other.picture.astype(int) - tiny_run.images[4]).max() > 1


def test_what_has_no_common_direction_or_no_length_is_refused(direction):
    with pytest.raises(AnalysisError, match="kind vae"):
        one_direction(type("M", (), {"kind": "vae"})())
    delta = direction.delta.copy()
    delta[STEP] = 0
    with pytest.raises(AnalysisError, match="no length at step 2; it has at 0, 1, 3"):
        ToDistance(dataclasses.replace(direction, delta=delta), 1, 0, STEP)
    for changes, message in (
        ({"distance": float("nan")}, "finite"),
        ({"step": -1}, "counted from 0"),
    ):
        with pytest.raises(UsageError, match=message):
            DistanceEdit(
                **{"direction": reference_to(direction), "distance": 1, "step": 0, **changes}
            )
