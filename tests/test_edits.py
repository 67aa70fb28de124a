"""Edits are pure functions that do what they say and nothing else, bit for bit where they say
nothing.
"""

import dataclasses

import numpy as np
import pytest
import torch
from tiny import drain, last_x, render_swaps

from hcache.directions.direction import random_direction, spread
from hcache.edits.cached import cached_features, cached_x
from hcache.edits.compose import PerRow
from hcache.edits.render import render_moved
from hcache.edits.shift import Shift
from hcache.edits.swap import Swap
from hcache.errors import UsageError
from hcache.features import Features
from hcache.recipes.window import Window
from hcache.sampling.loop import Moment, denoise

STEPS = 4
ALWAYS = Window(first=0, last=STEPS - 1)
MEMBERS = ("h", "skip.1.0", "skip.1.1", "skip.2.0")


def some_features(seed, n=1):
    rng = torch.Generator().manual_seed(seed)
    shapes = {
        "h": (16, 4, 4),
        "skip.1": [(16, 4, 4), (16, 4, 4)],
        "skip.2": [(16, 8, 8), (8, 8, 8)],
    }
    return Features(
        h=torch.randn(n, *shapes["h"], generator=rng),
        skips=tuple(
            tuple(torch.randn(n, *s, generator=rng) for s in shapes[g])
            for g in ("skip.1", "skip.2")
        ),
    )


def at(index):
    return Moment(index=index, t=100)


def all_members(model):
    return [member for site in model.anatomy.sites for member in model.anatomy.members(site)]


@pytest.fixture(scope="module")
def direction(tiny_run):
    return random_direction(spread(tiny_run), 0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_sample_swapped_with_itself_is_itself_bit_for_bit(tiny_model, alpha):
    plain = list(denoise(tiny_model, [5], STEPS, 1.0))
    swap = Swap(all_members(tiny_model), lambda moment: plain[moment.index].features, alpha, ALWAYS)
    swapped = list(denoise(tiny_model, [5], STEPS, 1.0, swap))
    assert all(torch.equal(a.x_next, b.x_next) for a, b in zip(plain, swapped, strict=True))


def test_a_swap_of_strength_0_is_no_edit_and_asks_no_donor():
    features = some_features(0)
    assert Swap(MEMBERS, lambda _: pytest.fail("asked"), 0.0, ALWAYS)(features, at(1)) is features


def test_a_swap_of_strength_1_puts_the_donors_tensors_there_and_leaves_the_rest():
    features, donor = some_features(0, n=3), some_features(1)
    for members in (MEMBERS, ("h",), ("skip.1.1", "skip.2.0")):
        swapped = Swap(members, lambda _: donor, 1.0, ALWAYS)(features, at(0))
        for name, tensor in swapped.items():
            if name in members:
                assert torch.equal(tensor, donor[name].expand_as(tensor)), name
            else:
                assert tensor is features[name], name


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_a_swap_in_between_blends(alpha):
    features, donor = some_features(0, n=2), some_features(1)
    swapped = Swap(MEMBERS, lambda _: donor, alpha, ALWAYS)(features, at(0))
    for name in MEMBERS:
        torch.testing.assert_close(
            swapped[name], (1 - alpha) * features[name] + alpha * donor[name]
        )


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_blend_strength_outside_0_to_1_is_refused(alpha):
    with pytest.raises(UsageError, match="blend strength"):
        Swap(MEMBERS, lambda _: some_features(0), alpha, ALWAYS)


def test_a_shift_adds_its_direction_times_the_strength_to_h_alone(tiny_model, direction):
    features, strengths = some_features(0, n=3), [0.0, 2.0, -0.5]
    for index in range(STEPS):
        moved = Shift(direction, strengths, ALWAYS, tiny_model)(features, at(index))
        delta = torch.from_numpy(direction.delta[index])
        assert torch.equal(moved.h[0], features.h[0]), "strength 0"
        for row, strength in enumerate(strengths):
            torch.testing.assert_close(moved.h[row], features.h[row] + strength * delta)
        assert all(tensor is features[name] for name, tensor in moved.items() if name != "h")


def test_a_shift_of_strength_0_is_no_edit(tiny_model, direction):
    features = some_features(0, n=2)
    idle = Shift(direction, [0.0, 0.0], ALWAYS, tiny_model)
    assert idle(features, at(0)) is features
    plain = last_x(denoise(tiny_model, [1, 2], STEPS))
    assert torch.equal(last_x(denoise(tiny_model, [1, 2], STEPS, edit=idle)), plain)
    half = Shift(direction, [0.0, 2.0], ALWAYS, tiny_model)
    moved = last_x(denoise(tiny_model, [1, 2], STEPS, edit=half))
    assert torch.equal(moved[0], plain[0]) and not torch.equal(moved[1], plain[1])


@pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 2), (3, 3), (0, 3)])
def test_an_edit_acts_in_its_window_only(tiny_model, direction, first, last):
    window = Window(first=first, last=last)
    features, donor = some_features(0), some_features(1)
    for edit in (
        Swap(MEMBERS, lambda _: donor, 1.0, window),
        Shift(direction, [1.0], window, tiny_model),
    ):
        for index in range(STEPS):
            assert (edit(features, at(index)) is not features) == (first <= index <= last), index
    plain = list(denoise(tiny_model, [1], STEPS))
    moved = list(denoise(tiny_model, [1], STEPS, edit=Shift(direction, [3.0], window, tiny_model)))
    for before, after in zip(plain, moved, strict=True):
        assert torch.equal(before.x_t, after.x_t) == (after.index <= first), "the past is as it was"


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (3, 2)])
def test_a_window_goes_forward(first, last):
    with pytest.raises(UsageError, match="window"):
        Window(first=first, last=last)


def test_an_edit_per_row_is_each_edit_on_its_row(tiny_model, direction):
    features, donor = some_features(0, n=4), some_features(1)
    edits = [
        Swap(MEMBERS, lambda _: donor, 1.0, ALWAYS),
        lambda features, moment: features,
        Swap(["h"], lambda _: donor, 0.5, ALWAYS),
        Shift(direction, [2.0], ALWAYS, tiny_model),
    ]
    together = PerRow(edits)(features, at(2))
    for row, edit in enumerate(edits):
        alone = edit(features.rows(row, row + 1), at(2))
        assert all(torch.equal(together[name][row], tensor[0]) for name, tensor in alone.items()), (
            row
        )
    assert all(len(tensor) == 4 for _, tensor in together.items())


def test_idle_edits_in_every_row_are_no_edit():
    features = some_features(0, n=2)
    idle = Swap(MEMBERS, lambda _: features, 1.0, Window(first=3, last=3))
    assert PerRow([idle, idle])(features, at(1)) is features


@pytest.mark.parametrize(("rows", "edits"), [(3, 1), (3, 2), (1, 2)])
def test_an_edit_per_row_needs_an_edit_for_every_row(tiny_model, rows, edits):
    """Fewer would leave rows out, and one would be broadcast over all of them without a word."""
    push = PerRow([lambda features, moment: features.replace({"h": features.h + 1})] * edits)
    with pytest.raises(UsageError):
        next(denoise(tiny_model, list(range(rows)), STEPS, edit=push))


def test_cached_features_are_as_stored_and_computed_where_they_are_not(tiny_model, tiny_run):
    sample, step = 6, 2
    found = cached_features(tiny_model, tiny_run, sample, step)
    stored = tiny_run.features(sample, step)
    with torch.no_grad():
        fresh = tiny_model.encode(
            cached_x(tiny_model, tiny_run, sample, step), tiny_run.timesteps[step]
        )
    present = dict(stored.items())
    assert set(present) == {"h", "skip.1.0", "skip.1.1"}
    for name, tensor in found.items():
        expected = torch.from_numpy(present[name])[None] if name in present else fresh[name]
        assert torch.equal(tensor, expected), name
        torch.testing.assert_close(tensor, fresh[name], rtol=1e-3, atol=1e-3)
    assert [name for name, _ in found.items()] == [name for name, _ in fresh.items()]


@pytest.mark.parametrize(("first", "last"), [(0, 3), (1, 2), (3, 3)])
def test_rendered_swaps(tiny_model, tiny_run, first, last):
    donor, recipient = 3, 8
    shares, (images, check) = drain(
        render_swaps(tiny_model, tiny_run, donor, recipient, Window(first=first, last=last))
    )
    assert check.identical is True and check.largest_difference == 0.0
    assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == pytest.approx(1.0)
    assert list(images) == list(tiny_model.anatomy.sites)
    for site, picture in images.items():
        assert picture.shape == tiny_model.anatomy.image and picture.dtype == np.uint8
        assert not np.array_equal(picture, tiny_run.images[recipient]), f"{site} matters"


def test_swaps_of_strength_0_or_with_itself_give_the_recipient_back(tiny_model, tiny_run):
    _, (nothing, _) = drain(render_swaps(tiny_model, tiny_run, 3, 8, ALWAYS, alpha=0.0))
    _, (itself, _) = drain(render_swaps(tiny_model, tiny_run, 8, 8, ALWAYS))
    for images, tolerance in (
        (nothing, 1),
        (itself, 3),
    ):  # the donor's cached h went through float16
        for site, picture in images.items():
            apart = np.abs(picture.astype(int) - tiny_run.images[8]).max()
            assert apart <= tolerance, (site, apart)


def test_a_swap_that_is_not_exact_is_reported(tiny_model, tiny_run):
    """The check compares two computations: spoil one of them and it says so."""

    class Spoilt:
        def __init__(self):
            self.calls = 0

        def __call__(self, *args, **kwargs):
            self.calls += 1
            return model.decode(*args, **kwargs) + 1e-3 * self.calls

    model, spoilt = tiny_model, Spoilt()

    class Model:
        decode = spoilt

        def __getattr__(self, name):
            return getattr(model, name)

    _, (_, check) = drain(render_swaps(Model(), tiny_run, 3, 8, ALWAYS))
    assert check.identical is False and check.largest_difference > 0


@pytest.mark.parametrize("asymmetric", [False, True])
def test_moved_by_nothing_is_the_cached_picture(tiny_model, tiny_run, direction, asymmetric):
    for shard in tiny_run.shards:
        samples = list(range(shard.start, shard.stop))
        for window in (ALWAYS, Window(first=2, last=3)):
            shares, pictures = drain(
                render_moved(
                    tiny_model,
                    tiny_run,
                    samples,
                    direction,
                    [0.0] * len(samples),
                    window,
                    asymmetric,
                )
            )
            np.testing.assert_array_equal(pictures, tiny_run.images[samples])
            assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_a_strip_has_the_picture_itself_in_its_middle(tiny_model, tiny_run, direction):
    strengths = [-4.0, 0.0, 4.0]
    _, pictures = drain(
        render_moved(tiny_model, tiny_run, [7] * 3, direction, strengths, ALWAYS, True)
    )
    apart = [np.abs(picture.astype(int) - tiny_run.images[7]).max() for picture in pictures]
    assert apart[1] <= 1 < min(apart[0], apart[2])


def test_stochastic_runs_are_taken_up_with_their_own_noise(tiny_model, tiny_spec, tmp_path):
    from hcache.extraction.run import extract

    run = extract(
        tiny_model, dataclasses.replace(tiny_spec, samples=4, batch=4, eta=1.0, seed=7), tmp_path
    )
    direction = random_direction(spread(run), 0)
    _, pictures = drain(
        render_moved(
            tiny_model, run, range(4), direction, [0.0] * 4, Window(first=1, last=1), False
        )
    )
    np.testing.assert_array_equal(pictures, run.images)
    _, (images, check) = drain(
        render_swaps(tiny_model, run, 0, 2, Window(first=1, last=2), alpha=0.0)
    )
    assert check.identical
    assert max(np.abs(p.astype(int) - run.images[2]).max() for p in images.values()) <= 1


def test_replacing_what_is_not_there_is_said_and_not_passed_over():
    features = Features(h=torch.ones(1, 2, 3, 3), skips=((torch.ones(1, 2, 3, 3),) * 2,))
    assert features.replace({"skip.1.1": torch.zeros(1, 2, 3, 3)})["skip.1.1"].sum() == 0
    with pytest.raises(UsageError, match=r"'skip.1' .*skip.1.0"):
        features.replace({"skip.1": torch.zeros(1, 2, 3, 3)})
