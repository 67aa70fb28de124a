"""Masks, slerp, FreeU, donors of other runs, single members: each does what it says and nothing
else.
"""

import dataclasses
import functools
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import save_kind
from PIL import Image
from test_edits import ALWAYS, MEMBERS, STEPS, at, some_features
from tiny import drain

from hcache.cards import default_spec
from hcache.directions.direction import digest_of, random_direction, spread
from hcache.edits.cached import find_donor
from hcache.edits.compose import Chain, Masked, PerRow
from hcache.edits.freeu import FreeUEdit, why_not, with_freeu
from hcache.edits.recipe_directions import reference_to
from hcache.edits.render import render_again, render_recipes
from hcache.edits.shift import Shift, ShiftEdit
from hcache.edits.slerp import Slerp, SlerpEdit, slerp
from hcache.edits.swap import Swap, SwapEdit
from hcache.errors import AnalysisError, UsageError
from hcache.extraction.run import extract
from hcache.images.pictures import Picture
from hcache.models.loading import load_model
from hcache.recipes.edits import DonorRef, changed
from hcache.recipes.masks import LARGEST, Mask
from hcache.recipes.recipe import recipe_of
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise
from hcache.specs import Conditioning

FREEU = FreeUEdit(b1=1.4, b2=1.6, s1=0.9, s2=0.2)


def render(model, run, *edits_of_rows, sample=5, **more):
    """The pictures of a sample under lists of edits, each alone in its batch."""
    found = []
    for edits in edits_of_rows:
        recipe = recipe_of(run, sample, edits, **more)
        found.append(drain(render_recipes(model, run, [recipe], run.home))[1][0].picture)
    return found


def same(a, b):
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())


@pytest.fixture(scope="module")
def other_run(tiny_model, tiny_spec, tiny_home, tiny_run):
    """Its samples 0 to 4 are those from 5 on of the tiny run, which are one shard there as well."""
    store = {"h": "full", "skip.1": "full"}
    spec = dataclasses.replace(tiny_spec, samples=5, batch=5, seed=tiny_spec.seed + 5, store=store)
    return extract(tiny_model, spec, tiny_home)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = save_kind("SD", tmp_path_factory.mktemp("freeu"))
    return load_model(str(folder))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    @functools.cache
    def make(kind):
        folder = save_kind(kind, tmp_path_factory.mktemp("kind"))
        given_ = Conditioning(prompts=tuple(f"a dog {i}" for i in range(4)), guidance=5)
        given_ = Conditioning(classes=(3,)) if kind == "classes" else given_
        given_ = Conditioning() if kind in ("LDM", "DDPM") else given_
        spec = default_spec(
            str(folder), samples=4, steps=4, conditioning=given_, store={"h": "full"}
        )
        model = load_model(str(folder))
        return model, extract(model, spec, tmp_path_factory.mktemp("home"))

    return make


class TestWindows:
    def test_a_swap_follows_the_shape_of_its_window(self):
        features, donor = some_features(0), some_features(1)
        falling = Window(first=0, last=3, shape="falling")
        for index in range(STEPS):
            swapped = Swap(MEMBERS, lambda _: donor, 0.8, falling)(features, at(index))
            alpha = 0.8 * (1 - index / 4)
            for name in MEMBERS:
                torch.testing.assert_close(
                    swapped[name], (1 - alpha) * features[name] + alpha * donor[name]
                )

    def test_asyrp_edits_down_to_t_edit_itself(self):
        assert Window.down_to([980, 600, 513, 500, 0], 513, "falling") == Window(
            first=0, last=2, shape="falling"
        )
        with pytest.raises(UsageError, match="no step has t >= 990; the first is at 980"):
            Window.down_to([980, 600], 990)

    def test_skip_inject_acts_from_1000_to_200(self):
        timesteps = [980, 780, 580, 380, 200, 180, 0]
        assert Window.between(timesteps, 1000, 200) == Window(first=0, last=4)
        assert Window.between(timesteps, 600, 190, "bell") == Window(first=2, last=4, shape="bell")
        with pytest.raises(
            UsageError, match="no step has 1200 >= t >= 990; the steps go from 980 to 0"
        ):
            Window.between(timesteps, 1200, 990)


class TestMask:
    @pytest.mark.parametrize(
        "ones", [Mask(rectangle=(0, 0, 1, 1)), Mask.from_array(np.ones((7, 5)))]
    )
    def test_all_ones_is_no_mask_and_all_zeros_no_edit_bit_for_bit(
        self, tiny_model, tiny_run, ones
    ):
        features, donor = some_features(0, n=2), some_features(1)
        direction = random_direction(spread(tiny_run), 0)
        for edit in (
            Swap(MEMBERS, lambda _: donor, 0.3, ALWAYS),
            Slerp(lambda _: donor, 0.5, ALWAYS),
            Shift(direction, [2.0, 1.0], ALWAYS, tiny_model),
        ):
            assert same(Masked(edit, ones)(features, at(1)), edit(features, at(1)))
            assert Masked(edit, Mask.from_array(np.zeros((3, 3))))(features, at(1)) is features

    def test_all_ones_renders_what_no_mask_renders(self, tiny_model, tiny_run):
        swap = SwapEdit(
            sites=("h", "skip.1", "skip.3"),
            donor=DonorRef(run=tiny_run.name, sample=2),
            alpha=0.7,
            window=ALWAYS,
        )
        whole, masked, none, nothing = (
            changed(swap, mask=mask)
            for mask in (
                None,
                Mask(rectangle=(0, 0, 1, 1)),
                Mask.from_array(np.zeros((8, 8))),
                None,
            )
        )
        nothing = changed(nothing, alpha=0)
        found = render(tiny_model, tiny_run, [whole], [masked], [none], [nothing])
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[2], found[3])
        assert not np.array_equal(found[0], found[2])

    def test_a_rectangle_is_left_top_right_bottom(self):
        m = Mask(rectangle=(0.5, 0.25, 1, 1)).at(4, 4)
        np.testing.assert_array_equal(m, [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
        np.testing.assert_allclose(Mask(rectangle=(0.125, 0, 0.25, 1)).at(1, 4), [[0.5, 0, 0, 0]])

    def test_it_acts_there_and_leaves_the_rest(self):
        features, donor = some_features(0, n=2), some_features(1)
        swapped = Masked(
            Swap(MEMBERS, lambda _: donor, 1.0, ALWAYS), Mask(rectangle=(0.5, 0, 1, 1))
        )(features, at(0))
        for name in MEMBERS:
            half = features[name].shape[-1] // 2
            assert torch.equal(swapped[name][..., :half], features[name][..., :half])
            assert torch.equal(
                swapped[name][..., half:], donor[name].expand_as(swapped[name])[..., half:]
            )

    @settings(max_examples=50, deadline=None)
    @given(
        st.integers(1, 9),
        st.integers(1, 9),
        st.integers(1, 20),
        st.integers(1, 20),
        st.integers(0, 99),
    )
    def test_averaging_over_areas_keeps_the_mean_and_the_range(
        self, rows, columns, height, width, seed
    ):
        values = np.round(np.random.default_rng(seed).random((rows, columns)) * 255) / 255
        m = Mask.from_array(values).at(height, width)
        assert m.shape == (height, width) and m.dtype == np.float32 and 0 <= m.min() <= m.max() <= 1
        assert m.mean() == pytest.approx(values.mean(), abs=1e-4)
        if (rows, columns) == (height, width):
            np.testing.assert_allclose(m, values, atol=1e-5)
        if rows == 2 * height and columns == 2 * width:
            np.testing.assert_allclose(
                m, values.reshape(height, 2, width, 2).mean((1, 3)), atol=1e-5
            )

    @pytest.mark.parametrize(
        ("size", "mode", "message"),
        [
            ((LARGEST + 1, 4), "L", "65 x 4"),
            ((4, 4), "RGB", "mode RGB"),
            ((4, 4), "RGBA", "grey PNG"),
        ],
    )
    def test_a_picture_of_another_size_or_kind_is_refused(self, size, mode, message):
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, "PNG")
        with pytest.raises(UsageError, match=message):
            Mask.from_picture(buffer.getvalue())

    @pytest.mark.parametrize(
        "sides", [(0, 0, 0, 1), (-0.1, 0, 1, 1), (0, 0.5, 1, 0.4), (0, 0, 1, float("nan")), (0, 1)]
    )
    def test_a_rectangle_that_is_none_is_refused(self, sides):
        with pytest.raises(UsageError, match="rectangle is left, top, right, bottom"):
            Mask(rectangle=sides)

    def test_what_is_no_picture_is_refused(self):
        for data in (b"", b"GIF89a", b"x" * 100_000):
            with pytest.raises(UsageError):
                Mask.from_picture(data)
        with pytest.raises(UsageError, match="one of the two"):
            Mask()
        with pytest.raises(UsageError, match="shape"):
            Mask.from_array(np.ones(3))


class TestSlerp:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.01, 100))
    def test_it_keeps_the_norm_and_turns_by_its_share_of_the_angle(self, seed, gamma, scale):
        rng = torch.Generator().manual_seed(seed)
        h, donor = (
            torch.randn(3, 8, 4, 4, generator=rng),
            scale * torch.randn(1, 8, 4, 4, generator=rng),
        )
        turned = slerp(h, donor, gamma)
        flat, theirs, found = (x.expand_as(h).double().flatten(1) for x in (h, donor, turned))
        torch.testing.assert_close(found.norm(dim=1), flat.norm(dim=1), rtol=1e-6, atol=0)

        def angle(a, b):
            return torch.arccos((torch.cosine_similarity(a, b, dim=1)).clamp(-1, 1))

        torch.testing.assert_close(
            angle(flat, found), gamma * angle(flat, theirs), rtol=0, atol=1e-3
        )
        torch.testing.assert_close(
            angle(found, theirs), (1 - gamma) * angle(flat, theirs), rtol=0, atol=1e-3
        )

    def test_a_share_of_0_is_no_edit_and_asks_no_donor(self):
        features = some_features(0)
        assert Slerp(lambda _: pytest.fail("asked"), 0.0, ALWAYS)(features, at(1)) is features
        rising = Slerp(lambda _: some_features(1), 1.0, Window(first=2, last=3))
        assert rising(features, at(1)) is features and rising(features, at(2)) is not features

    def test_a_share_of_1_is_the_donors_direction(self):
        features, donor = some_features(0, n=2), some_features(1)
        turned = Slerp(lambda _: donor, 1.0, ALWAYS)(features, at(0))
        for row in range(2):
            expected = donor.h[0] * features.h[row].norm() / donor.h[0].norm()
            torch.testing.assert_close(turned.h[row], expected)
        assert all(tensor is features[name] for name, tensor in turned.items() if name != "h")

    @pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
    def test_a_sample_turned_to_itself_is_itself_bit_for_bit(self, gamma):
        features = some_features(0, n=3)
        for row in range(3):
            one = features.rows(row, row + 1)
            assert torch.equal(Slerp(lambda _, one=one: one, gamma, ALWAYS)(one, at(0)).h, one.h)

    @pytest.mark.parametrize(("donor", "message"), [(0.0, "zero"), (-1.0, "exactly away")])
    def test_a_donor_that_gives_no_way_to_turn_is_refused(self, donor, message):
        h = some_features(0).h
        with pytest.raises(AnalysisError, match=message):
            slerp(h, donor * h, 0.3)

    @pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
    def test_a_share_outside_0_to_1_is_refused(self, gamma):
        with pytest.raises(UsageError, match="γ of a slerp"):
            Slerp(lambda _: some_features(0), gamma, ALWAYS)


class TestSeveral:
    def test_edits_that_commute_commute(self, tiny_model, tiny_run):
        """Those of different sites bit for bit, and two directions but for rounding."""
        direction, donor = (
            random_direction(spread(tiny_run), 0),
            DonorRef(run=tiny_run.name, sample=2),
        )
        shift = ShiftEdit(direction=reference_to(direction), strength=2.0, window=ALWAYS)
        deep = SwapEdit(sites=("h",), donor=donor, alpha=1.0, window=Window(first=1, last=2))
        skips = SwapEdit(sites=("skip.2.0", "skip.3"), donor=donor, alpha=0.5, window=ALWAYS)

        def both(*edits):
            recipe = recipe_of(tiny_run, 7, edits)
            moves = {digest_of(direction): direction}
            return drain(render_recipes(tiny_model, tiny_run, [recipe], tiny_run.home, moves))[1][
                0
            ].picture

        for other in (shift, deep):
            np.testing.assert_array_equal(both(other, skips), both(skips, other))
        assert not np.array_equal(both(shift, deep), both(deep, shift)), (
            "of one site they act in order"
        )
        other = dataclasses.replace(random_direction(spread(tiny_run), 1))
        moves = [Shift(d, [1.5], ALWAYS, tiny_model) for d in (direction, other)]
        features = some_features(0)
        torch.testing.assert_close(
            Chain(moves)(features, at(0)).h, Chain(moves[::-1])(features, at(0)).h
        )

    def test_members_of_a_group_together_are_the_group(self, tiny_model, tiny_run):
        swap = SwapEdit(
            sites=("skip.2",), donor=DonorRef(run=tiny_run.name, sample=2), alpha=1.0, window=ALWAYS
        )
        one, other, both = (
            changed(swap, sites=sites)
            for sites in (("skip.2.0",), ("skip.2.1",), ("skip.2.0", "skip.2.1"))
        )
        found = render(tiny_model, tiny_run, [swap], [both], [one, other], [one], [other])
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])
        assert not np.array_equal(found[0], found[3]) and not np.array_equal(found[3], found[4])

    def test_a_tensor_keeps_its_layout_in_memory(self):
        """A convolution of other strides rounds otherwise, and rows would depend on those beside
        them.
        """
        features = some_features(0, n=3).map(
            lambda _, t: t.contiguous(memory_format=torch.channels_last)
        )
        donor = some_features(1)
        edits = [
            Swap(("h",), lambda _: donor, 0.5, ALWAYS),
            lambda f, _: f,
            lambda f, _: f.map(lambda _, t: (t + 1).contiguous()),
        ]
        edited = PerRow(edits)(features, at(0))
        assert all(tensor.stride() == features[name].stride() for name, tensor in edited.items())


class TestDonors:
    def test_one_of_another_run_is_as_good_as_the_same_sample_of_this_run(
        self, tiny_model, tiny_run, other_run
    ):
        assert other_run.name != tiny_run.name
        pairs = [(DonorRef(run=tiny_run.name, sample=7), DonorRef(run=other_run.name, sample=2))]
        for ours, theirs in pairs:
            for edits in (
                lambda d: [SwapEdit(sites=("h", "skip.2"), donor=d, alpha=1.0, window=ALWAYS)],
                lambda d: [SlerpEdit(donor=d, window=ALWAYS)],
            ):
                a, b = render(tiny_model, tiny_run, edits(ours), edits(theirs), sample=1)
                np.testing.assert_array_equal(a, b)

    def test_a_real_picture_can_give(self, tiny_model, tiny_spec, tiny_home, tiny_run):
        picture = Picture(
            pixels=np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8), notes=()
        )
        spec = dataclasses.replace(tiny_spec, samples=1, batch=1, images=(picture.digest,))
        picture.save(tiny_home / "runs" / spec.name / "images")
        real = extract(tiny_model, spec, tiny_home)
        swap = SwapEdit(
            sites=("skip.2", "skip.3"),
            donor=DonorRef(run=real.name, sample=0),
            alpha=1.0,
            window=ALWAYS,
        )
        given_, without = render(tiny_model, tiny_run, [swap], [])
        assert not np.array_equal(given_, without)
        into_real = changed(swap, donor=DonorRef(run=tiny_run.name, sample=3))
        assert not np.array_equal(*render(tiny_model, real, [into_real], [], sample=0))

    def test_one_of_other_steps_or_another_model_is_refused(
        self, tiny_model, tiny_spec, tiny_home, tiny_run, tmp_path
    ):
        short = extract(tiny_model, dataclasses.replace(tiny_spec, samples=1, steps=2), tiny_home)
        other = extract(
            tiny_model, dataclasses.replace(tiny_spec, samples=1, weights="another"), tiny_home
        )
        for run, message in (
            (short, "other steps .*: 2 from t = 500 to 0, not 4"),
            (other, "another model"),
        ):
            swap = SwapEdit(
                sites=("h",), donor=DonorRef(run=run.name, sample=0), alpha=1.0, window=ALWAYS
            )
            with pytest.raises(UsageError, match=message):
                render(tiny_model, tiny_run, [swap])


class TestFreeU:
    def test_it_is_what_diffusers_does_and_is_never_left_behind(self, text):
        x, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), 500
        condition = text.condition(Conditioning(prompts=("a dog",)), 2).branches["cond"]
        with torch.inference_mode():
            before = text.trace(x, t, condition)[1]
            with_it = with_freeu(text, FREEU)
            features = with_it.encode(x, t, condition)
            kept = features.map(lambda _, tensor: tensor.clone())
            ours = with_it.decode(features, t, condition)
            assert same(features, kept), "diffusers scales in place"
            assert torch.equal(text.trace(x, t, condition)[1], before) and not torch.equal(
                ours, before
            )
            try:
                text.network.enable_freeu(s1=FREEU.s1, s2=FREEU.s2, b1=FREEU.b1, b2=FREEU.b2)
                theirs = text.network(x, t, encoder_hidden_states=condition.text).sample
            finally:
                text.network.disable_freeu()
        assert torch.equal(ours, theirs)
        parameters = dict(text.network.named_parameters())
        assert all(p is parameters[name] for name, p in with_it.network.named_parameters()), (
            "the weights are shared"
        )
        assert with_freeu(text, None) is text

    def test_a_model_whose_blocks_have_none_says_so(self, tiny_model, tiny_run):
        assert "UNet2DModel" in why_not(tiny_model.network)
        with pytest.raises(UsageError, match="FreeU cannot be used with .*UNet2DConditionModel"):
            render(tiny_model, tiny_run, [FREEU])

    def test_a_block_that_would_ignore_it_is_named(self, text):
        class Simple(torch.nn.Module):
            pass

        class Network(torch.nn.Module):
            def enable_freeu(self):
                pass

        network = Network()
        network.up_blocks = torch.nn.ModuleList([Simple()])
        assert "a Simple where it would act" in why_not(network)
        assert why_not(text.network) == ""


class TestKinds:
    """Under guidance both branches are edited, and a recipe gives its picture again."""

    @pytest.mark.parametrize("kind", ["SD", "SD, v", "SDXL", "LDM", "classes"])
    def test_render_again_is_the_picture(self, runs, kind):
        model, run = runs(kind)
        direction, donor = random_direction(spread(run), 0), DonorRef(run=run.name, sample=0)
        shift = ShiftEdit(
            direction=reference_to(direction), strength=2.0, window=Window(first=1, last=3)
        )
        swap = SwapEdit(
            sites=("skip.2.0",),
            donor=donor,
            alpha=0.8,
            window=ALWAYS,
            mask=Mask(rectangle=(0, 0, 0.6, 1)),
        )
        turn = SlerpEdit(donor=donor, window=Window(first=2, last=2))
        lists = [[shift], [swap], [turn], [shift, swap, turn]]
        if not why_not(model.network):
            lists.append([FREEU, swap])
        listed = [recipe_of(run, 1 + i % 3, edits) for i, edits in enumerate(lists)]
        listed += [dataclasses.replace(recipe, asymmetric=True, t_boost=400) for recipe in listed]
        moves = {digest_of(direction): direction}
        _, cells = drain(render_recipes(model, run, listed, run.home, moves))
        assert len({cell.recipe.pixels for cell in cells}) == len(cells)
        for cell in cells:
            _, (again,) = drain(render_again(model, run, [cell.recipe], run.home, moves))
            np.testing.assert_array_equal(
                again.picture, cell.picture, err_msg=str(cell.recipe.edits)
            )

    def test_both_branches_are_given_their_own(self, runs):
        model, run = runs("SD")
        given_, donor = {}, find_donor(DonorRef(run=run.name, sample=2), run, model, run.home)

        def listen(moment):
            given_[moment.branch] = donor(moment)
            return given_[moment.branch]

        swap = Swap(("h",), listen, 1.0, ALWAYS)
        next(denoise(model, [1], STEPS, edit=swap, conditioning=run.spec.conditioning.rows([1])))
        assert given_.keys() == {"cond", "uncond"} and not torch.equal(
            given_["cond"].h, given_["uncond"].h
        )

    def test_a_donor_without_guidance_gives_to_one_with_it(self, runs):
        model, run = runs("SD")
        plain = dataclasses.replace(run.spec, conditioning=Conditioning(prompts=("a cat",)))
        other = extract(model, plain, run.home)
        swap = SwapEdit(
            sites=("h", "skip.2"),
            donor=DonorRef(run=other.name, sample=1),
            alpha=1.0,
            window=ALWAYS,
        )
        assert not np.array_equal(*render(model, run, [swap], [], sample=1))
