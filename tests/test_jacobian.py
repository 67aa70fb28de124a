"""Jacobians of both halves, by products alone: against finite differences and dense ones."""

import numpy as np
import pytest
import torch
from test_methods import made, rms
from tiny import ONE_LEVEL, make_unet, model_of

from hcache.directions.direction import digest_of, spread
from hcache.directions.jacobian import decoder_at, region_mask
from hcache.directions.pullback import encoder_at
from hcache.directions.subspace import backward_products, forward_products, leading_singular
from hcache.edits.render import render_again, render_recipes, shift_by
from hcache.errors import AnalysisError, UsageError
from hcache.progress import drive
from hcache.recipes.masks import Mask
from hcache.recipes.recipe import recipe_of
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise

STEPS = 3


@pytest.fixture(scope="module")
def net():
    """A model small enough for dense Jacobians, and a run's worth of it is in ``tiny_run``."""
    return model_of(make_unet(base=ONE_LEVEL))


@pytest.fixture(scope="module")
def halves(tiny_run, tiny_model):
    """Both halves at a cached sample, as functions, with their points."""
    return {
        "decode": decoder_at(tiny_run, tiny_model, 3, 1, "", 3),
        "encode": encoder_at(tiny_run, tiny_model, 3, 1, "", 3),
    }


@pytest.mark.parametrize("half", ["decode", "encode"])
def test_products_with_the_jacobian_are_finite_differences(halves, half):
    function, point = halves[half]
    rng = torch.Generator().manual_seed(0)
    v = torch.randn(3, *point.shape, generator=rng)
    forward = forward_products(function, point, v)
    with torch.no_grad():
        step = 1e-3
        rows = point.expand(3, *point.shape)
        difference = (function(rows + step * v) - function(rows - step * v)) / (2 * step)
    torch.testing.assert_close(
        forward, difference, rtol=2e-2, atol=2e-3 * float(difference.abs().max())
    )
    u = torch.randn(forward.shape, generator=rng)
    backward = backward_products(function, point, u)
    for i in range(3):
        assert float((u[i] * forward[i]).sum()) == pytest.approx(
            float((backward[i] * v[i]).sum()), rel=1e-3, abs=1e-3
        ), "the transpose"


@pytest.mark.parametrize("half", ["decode", "encode"])
def test_leading_singular_vectors_are_those_of_the_dense_jacobian(net, half):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 8, 8, generator=rng)
    with torch.no_grad():
        features = net.encode(x, 300)

    def function(rows):
        if half == "encode":
            return net.encode(rows, 300).h
        alike = features.map(lambda _, tensor: tensor.expand(len(rows), *tensor.shape[1:]))
        return net.decode(alike.replace({"h": rows}), 300)

    point = (x if half == "encode" else features.h)[0]
    columns = torch.eye(point.numel()).view(-1, *point.shape)
    dense = forward_products(function, point, columns).flatten(1).T
    values = torch.linalg.svdvals(dense)
    found = drive(leading_singular(function, point, 2, 300, 1e-5))
    torch.testing.assert_close(found.values, values[:2], rtol=1e-3, atol=0)
    image = dense @ found.right.flatten(1).T
    torch.testing.assert_close(
        image.T, found.values[:, None] * found.left.flatten(1), rtol=1e-3, atol=1e-4
    )
    gram = found.right.flatten(1) @ found.right.flatten(1).T
    torch.testing.assert_close(gram, torch.eye(2), rtol=0, atol=1e-4)


def test_jacobian_directions_have_unit_length_where_they_are(tiny_run, tiny_model):
    found = made(
        tiny_run,
        "jacobian",
        tiny_model,
        options={"count": 2, "first": 1, "last": 2, "iterations": 5},
    )
    assert len(found) == 2
    for direction in found:
        np.testing.assert_allclose(direction.profile[[0, 3]], 0)
        assert (
            direction.profile[1] == pytest.approx(direction.profile[2], rel=1e-3)
            and direction.profile[1] > 0
        )
    again = made(
        tiny_run,
        "jacobian",
        tiny_model,
        options={"count": 2, "first": 1, "last": 2, "iterations": 5},
    )
    assert digest_of(again[0]) == digest_of(found[0])


def test_a_region_counts_what_changes_inside_it(tiny_run, tiny_model):
    region = "0,0,0.5,0.5"
    function, h = decoder_at(tiny_run, tiny_model, 0, 2, region, 1)
    with torch.no_grad():
        output = function(h[None])
    assert (
        output[..., :8, :8].abs().max() > 0
        and not output[..., 8:, :].any()
        and not output[..., 8:].any()
    )
    whole = drive(leading_singular(decoder_at(tiny_run, tiny_model, 0, 2, "", 1)[0], h, 1, 20))
    inside = drive(leading_singular(function, h, 1, 20))
    ratios = []
    for vector in (whole.right, inside.right):
        image = forward_products(decoder_at(tiny_run, tiny_model, 0, 2, "", 1)[0], h, vector)[0]
        ratios.append(float(image[..., :8, :8].square().sum() / image.square().sum()))
    assert ratios[1] > ratios[0]


def test_a_region_may_be_painted():
    painted = np.zeros((8, 8))
    painted[:4, :4] = 1
    mask = region_mask(Mask.from_array(painted).png, 16, 16)
    torch.testing.assert_close(mask, region_mask("0,0,0.5,0.5", 16, 16))
    assert mask.sum() == 64
    with pytest.raises(UsageError, match="holds no pixel"):
        region_mask(Mask.from_array(np.zeros((4, 4))).png, 16, 16)


@pytest.mark.parametrize("region", ["1,2", "a,b,c,d", "0.5,0,0.2,1", "0,0,2,1", "nothing"])
def test_a_region_that_is_none_is_refused(region):
    with pytest.raises(UsageError, match="rectangle|region|mask"):
        region_mask(region, 16, 16)


def test_a_pullback_moves_h_by_its_strength(tiny_run, tiny_model):
    found = made(
        tiny_run,
        "pullback",
        tiny_model,
        options={"step": 1, "count": 2, "sample": 4, "iterations": 30},
    )
    sigma = spread(tiny_run)[1]
    x = torch.from_numpy(tiny_run.x(4, 1))[None]
    for move in found:
        moved = move.moved(x, torch.tensor([0.01]))
        with torch.no_grad():
            delta = (
                tiny_model.encode(moved, tiny_run.timesteps[1]).h
                - tiny_model.encode(x, tiny_run.timesteps[1]).h
            )
        assert rms(delta[0].numpy() / sigma) == pytest.approx(0.01, rel=0.05)
    assert torch.equal(found[0].moved(x, torch.tensor([0.0])), x)
    with pytest.raises(AnalysisError, match="moves x_t before step 1"):
        found[0].bind(tiny_model)


def test_a_pullback_is_rendered_by_moving_x_once(tiny_run, tiny_model):
    """As a recipe: what the loop gives from the moved x_t on; outside its window nothing."""
    (move,) = made(
        tiny_run, "pullback", tiny_model, options={"step": 1, "count": 1, "iterations": 5}
    )
    inside, outside = Window(first=1, last=3), Window(first=2, last=3)
    recipes = [
        recipe_of(tiny_run, 4, [shift_by(move, *s)])
        for s in ((3.0, inside), (0.0, inside), (3.0, outside))
    ]
    home = tiny_run.folder.parent.parent
    moved, still, late = drive(
        render_recipes(tiny_model, tiny_run, recipes, home, {digest_of(move): move})
    )
    x = torch.from_numpy(tiny_run.x(4, 1))[None].expand(3, -1, -1, -1)
    x = move.moved(x, torch.tensor([3.0, 0.0, 0.0]))
    *_, last = denoise(tiny_model, [tiny_run.seed(4)] * 3, STEPS + 1, x_t=x, start=1)
    expected = tiny_model.to_images(last.x_next).numpy()
    np.testing.assert_array_equal(np.stack([moved.picture, still.picture, late.picture]), expected)
    assert (moved.picture != still.picture).any()
    (again,) = drive(
        render_again(tiny_model, tiny_run, [moved.recipe], home, {digest_of(move): move})
    )
    np.testing.assert_array_equal(again.picture, moved.picture)
