"""A recipe gives its picture again, bit for bit, and anything else is refused in one clear line."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe_kinds import KINDS
from tiny import drain

from hcache.directions.direction import digest_of
from hcache.directions.store import save_move
from hcache.edits.freeu import FreeUEdit
from hcache.edits.recipe_directions import reference_to
from hcache.edits.render import ROWS, render_again, render_recipes
from hcache.edits.swap import SwapEdit
from hcache.errors import AnalysisError, UsageError
from hcache.images.pngs import read_picture, read_recipe
from hcache.recipes.edits import DonorRef, changed
from hcache.recipes.masks import Mask
from hcache.recipes.recipe import BatchPlace, Recipe, recipe_of
from hcache.recipes.sheet import read_cells
from hcache.recipes.window import Window


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_gives_its_picture_again_bit_for_bit(tiny_model, tiny_run, cells, kind):
    """Alone, from the text in its PNG; the direction is fitted again."""
    data = cells[kind].png
    (cell,) = read_cells(read_recipe(data))
    _, (again,) = drain(render_again(tiny_model, tiny_run, [cell.recipe], tiny_run.home))
    np.testing.assert_array_equal(again.picture, cells[kind].picture)
    np.testing.assert_array_equal(read_picture(data), cells[kind].picture)
    assert again.recipe == cell.recipe == cells[kind].recipe


def test_more_recipes_than_a_batch_takes_go_into_several(tiny_model, tiny_run, recipes):
    many = [
        dataclasses.replace(recipes["swap late, falling"], sample=i % 12) for i in range(ROWS + 3)
    ]
    many = [recipe_of(tiny_run, r.sample, r.edits) for r in many]
    _, found = drain(render_recipes(tiny_model, tiny_run, many, tiny_run.home))
    assert {cell.recipe.place.rows for cell in found} == {ROWS, 3}
    assert {cell.recipe.place.first for cell in found} == {1}, "from the first edited step"
    _, (again,) = drain(render_again(tiny_model, tiny_run, [found[-1].recipe], tiny_run.home))
    np.testing.assert_array_equal(again.picture, found[-1].picture)


def test_edits_of_nothing_give_the_cached_picture(tiny_model, tiny_run, direction, recipes):
    """In the batch that the run was made in: a shard is rendered whole."""
    idle = recipes["shift, strength 0"].edits
    for asymmetric in (False, True):
        for shard in tiny_run.shards:
            samples = range(shard.start, shard.stop)
            for edits in (idle, ()):
                listed = [
                    recipe_of(tiny_run, sample, edits, asymmetric=asymmetric) for sample in samples
                ]
                moves = {digest_of(direction): direction}
                _, found = drain(render_recipes(tiny_model, tiny_run, listed, tiny_run.home, moves))
                np.testing.assert_array_equal(
                    np.stack([c.picture for c in found]), tiny_run.images[list(samples)]
                )


def test_asymmetric_and_boosted_pictures_are_others(cells):
    assert not np.array_equal(cells["asymmetric"].picture, cells["shift"].picture)
    assert not np.array_equal(cells["boosted"].picture, cells["swap late, falling"].picture)


def test_a_noise_boost_is_eta_1_below_t_boost(tiny_model, tiny_run):
    """Boosted over all steps, a picture is that of a run with eta 1 from the same noise."""
    from hcache.sampling.loop import denoise

    *_, last = denoise(tiny_model, [tiny_run.seed(4)], 4, 1.0)
    _, (cell,) = drain(
        render_recipes(tiny_model, tiny_run, [recipe_of(tiny_run, 4, t_boost=1001)], tiny_run.home)
    )
    np.testing.assert_array_equal(cell.picture, tiny_model.to_images(last.x_next).numpy()[0])
    *_, late = denoise(tiny_model, [tiny_run.seed(4)], 4, [0, 0, 0, 1])
    t = tiny_run.timesteps[2]
    _, (cell,) = drain(
        render_recipes(tiny_model, tiny_run, [recipe_of(tiny_run, 4, t_boost=t)], tiny_run.home)
    )
    assert cell.recipe.place.first == 3, "nothing is another before"
    assert (
        np.abs(cell.picture.astype(int) - tiny_model.to_images(late.x_next).numpy()[0]).max() <= 1
    )
    nothing = SwapEdit(
        sites=("h",),
        donor=DonorRef(run=tiny_run.name, sample=1),
        alpha=0.0,
        window=Window(first=0, last=3),
    )
    recipe = recipe_of(tiny_run, 4, [nothing], t_boost=t)
    _, (cell,) = drain(render_recipes(tiny_model, tiny_run, [recipe], tiny_run.home))
    assert cell.recipe.place.first == 0
    np.testing.assert_array_equal(
        cell.picture, tiny_model.to_images(late.x_next).numpy()[0], "t_boost itself has none"
    )


def test_one_eta_a_step_is_checked(tiny_model):
    from hcache.sampling.loop import denoise

    with pytest.raises(UsageError, match="one per step .4.; got 3"):
        next(denoise(tiny_model, [1], 4, [0, 0, 1]))
    with pytest.raises(UsageError, match="eta must lie"):
        next(denoise(tiny_model, [1], 4, [0, 0, 1, 2]))


def test_the_digest_is_over_what_decides_the_picture(recipes, cells):
    assert len({recipe.digest for recipe in recipes.values()}) == len(recipes)
    for name, cell in cells.items():
        assert cell.recipe.digest == recipes[name].digest and cell.recipe != recipes[name]
    shift = recipes["shift"]
    renamed = changed(shift.edits[0].direction, name="another name", made_by={})
    assert (
        dataclasses.replace(shift, edits=[changed(shift.edits[0], direction=renamed)]).digest
        == shift.digest
    )
    for change in (
        {"sample": 1},
        {"asymmetric": True},
        {"t_boost": 3},
        {"edits": ()},
        {"weights": "0"},
    ):
        assert dataclasses.replace(shift, **change).digest != shift.digest


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_is_json_and_back(cells, kind):
    recipe = cells[kind].recipe
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


class TestDirections:
    def test_a_saved_direction_is_taken_by_its_digest_whatever_its_name(
        self, tiny_model, copied_run, direction, cells
    ):
        made_elsewhere = dataclasses.replace(direction, made_by={"method": "imported"})
        save_move(copied_run, "some other name", made_elsewhere)
        recipe = cells["shift"].recipe
        edit = changed(recipe.edits[0], direction=reference_to(made_elsewhere, "noise"))
        recipe = dataclasses.replace(recipe, edits=[edit])
        _, (again,) = drain(render_again(tiny_model, copied_run, [recipe], copied_run.home))
        np.testing.assert_array_equal(again.picture, cells["shift"].picture)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"made_by": {}}, "does not say how to make it again"),
            ({"digest": "0" * 12}, "the result differs"),
            ({"made_by": {"method": "random", "run": "gone-123"}}, r"\(gone-123\) is not here"),
            (
                {"made_by": {"method": "nonsense"}, "run": True},
                "cannot be fitted again: no method 'nonsense'",
            ),
            (
                {"made_by": {"method": "random", "options": "abc"}, "run": True},
                "cannot be fitted again: this is not .*: options: expected names with values",
            ),
            (
                {"made_by": {"method": "naive", "positives": [0.7, True]}, "run": True},
                r"cannot be fitted again: this is not .*: positives\[0\]: expected the number",
            ),
            ({"made_by": {"method": "random", "run": "\0"}}, "is not here"),
            ({"made_by": {"method": "random", "run": ["a"]}}, "is not here"),
        ],
    )
    def test_one_that_is_gone_and_cannot_be_made_again_is_said(
        self, tiny_model, tiny_run, cells, changes, message
    ):
        if changes.pop("run", False):
            changes["made_by"]["run"] = tiny_run.name
        recipe = cells["shift"].recipe
        changes = {"digest": "f" * 12, **changes}
        edit = changed(recipe.edits[0], direction=changed(recipe.edits[0].direction, **changes))
        with pytest.raises(UsageError, match=message):
            recipe = dataclasses.replace(recipe, edits=[edit])
            drain(render_again(tiny_model, tiny_run, [recipe], tiny_run.home))

    def test_files_that_are_damaged_are_named_where_a_direction_is_missing(
        self, tiny_model, copied_run, cells
    ):
        (copied_run.folder / "directions").mkdir()
        (copied_run.folder / "directions" / "bad.h5").write_bytes(b"no HDF5")
        recipe = cells["shift"].recipe
        lost = changed(recipe.edits[0].direction, digest="f" * 12, made_by={})
        recipe = dataclasses.replace(recipe, edits=[changed(recipe.edits[0], direction=lost)])
        with pytest.raises(UsageError, match=r"directions that are damaged: bad\)"):
            drain(render_again(tiny_model, copied_run, [recipe], copied_run.home))

    def test_one_of_other_steps_is_refused_unless_it_is_to_be_resampled(
        self, tiny_model, tiny_run, direction, recipes
    ):
        half = direction.resampled(tiny_run.timesteps[::2])
        edit = changed(recipes["shift"].edits[0], direction=reference_to(half))
        moves = {digest_of(half): half}
        with pytest.raises(AnalysisError, match="2 steps from t = .* has 4 .*resample it"):
            drain(
                render_recipes(
                    tiny_model, tiny_run, [recipe_of(tiny_run, 1, [edit])], tiny_run.home, moves
                )
            )
        edit = changed(edit, resample=True)
        _, (cell,) = drain(
            render_recipes(
                tiny_model, tiny_run, [recipe_of(tiny_run, 1, [edit])], tiny_run.home, moves
            )
        )
        assert Recipe.from_json(cell.recipe.to_json()).edits[0].resample

    def test_one_of_another_model_is_refused(self, tiny_model, tiny_run, direction, recipes):
        other = dataclasses.replace(direction, model="another model")
        with pytest.raises(AnalysisError, match="fitted on another model"):
            drain(
                render_recipes(
                    tiny_model,
                    tiny_run,
                    [recipes["shift"]],
                    tiny_run.home,
                    {digest_of(direction): other},
                )
            )


@pytest.fixture(scope="module")
def good(cells):
    """A recipe of everything, as data."""
    recipe = cells["asymmetric, boosted"].recipe
    masked = changed(recipe.edits[1], mask=Mask.from_array(np.eye(4)), sites=("h", "skip.2.1"))
    free = FreeUEdit(b1=1.2, b2=1.4, s1=0.9, s2=0.2)
    return dataclasses.replace(
        recipe, edits=(*recipe.edits, masked, free), place=BatchPlace(row=1, rows=2, first=0)
    ).to_json()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 2, "newer hcache"),
        (("schema",), "1", "schema: expected a whole number"),
        (("format",), None, "not a recipe"),
        (("sample",), -1, "sample: expected a whole number"),
        (("sample",), True, "sample: expected a whole number"),
        (("run",), "../../etc", "run: expected a run's name, got"),
        (("steps",), 3, "go to 3, and the run has 3"),
        (("eta",), float("nan"), "eta: expected a number from 0 to 1"),
        (("t_boost",), float("inf"), "t_boost: expected a number"),
        (("nonsense",), 1, "nonsense is not a field"),
        (("edits",), {}, "edits: expected a list"),
        (("edits", 0), 5, r"edits\[0\]: expected names with values, got 5"),
        (
            ("edits", 0, "kind"),
            "paint",
            r"edits\[0\].kind: expected one of shift, distance.* got 'paint'",
        ),
        (("edits", 0, "strength"), "2", r"edits\[0\].strength: expected a number"),
        (("edits", 0, "strength"), 1e999, r"edits\[0\].strength: expected a number"),
        (("edits", 0, "direction", "digest"), "xyz", "12 hex digits"),
        (("edits", 0, "direction", "made_by"), [1], "made_by: expected names with values, got"),
        (("edits", 1, "alpha"), 1.5, r"edits\[1\].alpha: expected a number from 0 to 1, got 1.5"),
        (("edits", 1, "sites"), [], "needs sites"),
        (("edits", 1, "sites"), ["x"], r"edits\[1\].sites\[0\]: expected h, skip.1, .* got 'x'"),
        (("edits", 1, "donor", "run"), 3, r"edits\[1\].donor.run: expected a run's name, got 3"),
        (("edits", 1, "window", "last"), -1, "window.last: expected a whole number"),
        (("edits", 1, "window", "first"), 4, "goes from first to last"),
        (("edits", 1, "window", "shape"), "square", "window.shape: expected one of constant"),
        (("edits", 2, "gamma"), -1, r"edits\[2\].gamma: expected a number from 0 to 1"),
        (("edits", 3, "mask"), {"png": "AAAA"}, "no PNG file"),
        (
            ("edits", 3, "mask"),
            {"rectangle": [0, 0, 1]},
            r"edits\[3\].mask.rectangle: expected a list of 4",
        ),
        (("edits", 3, "mask"), {"rectangle": [0.5, 0, 0.5, 1]}, "left < right"),
        (("edits", 4, "b1"), 0, "more than 0"),
        (
            ("edits", 0, "direction", "made_by"),
            {"options": {"beta": float("nan")}},
            r"^recipe: edits\[0\].direction: made_by holds a number that is not finite",
        ),
        (("edits", 0, "strenght"), 1, r"edits\[0\].strenght is not a field"),
        (("edits", 1, "window", "frist"), 1, r"edits\[1\].window.frist is not a field"),
        (("edits", 1, "mask"), {"rectangle": [0, 0, 1, 1], "png": "x"}, "one of the two"),
        (("edits", 2), {"kind": "slerp"}, r"edits\[2\].gamma is missing"),
        (("place", "row"), 2, "^recipe: place: .*row 2 of 2"),
        (("place", "rows"), 10**9, "place.rows: expected a whole number from 1 to 64"),
        (("pixels",), "zz", "64 hex digits"),
        (("conditioning",), {"prompts": ["a", "b"]}, "at most 1"),
        (("conditioning",), {"guidance": 0}, "conditioning: guidance must be"),
    ],
)
def test_a_recipe_that_cannot_be_one_names_the_field(good, path, value, message):
    data = json.loads(json.dumps(good))
    at = data
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    with pytest.raises(UsageError, match=message):
        Recipe.from_json(data)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_a_recipe_holds_is_taken_or_refused_in_words(good, data):
    """Any one value anywhere in a good recipe is put in the place of another."""
    copy = json.loads(json.dumps(good))
    at, key = {"top": copy}, "top"
    while (
        isinstance(at[key], dict | list)
        and at[key]
        and data.draw(st.booleans() if key != "top" else st.just(True))
    ):
        at = at[key]
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
    at[key] = data.draw(PLAIN)
    try:
        found = Recipe.from_json(copy)
    except UsageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert Recipe.from_json(json.loads(found.to_text())) == found and found.digest


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.binary() | PLAIN.map(json.dumps))
def test_whatever_a_file_holds_is_taken_or_refused_in_words(text):
    with pytest.raises(UsageError):
        read_cells(text)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"format": "hcache recipe", "schema": 1e999}'],
)
def test_hostile_json_is_refused(text):
    with pytest.raises(UsageError):
        read_cells(text)


@pytest.mark.parametrize("field", ["model", "weights", "run", "seed", "eta", "dtype"])
def test_a_recipe_of_another_run_says_what_differs(tiny_model, tiny_run, recipes, field):
    other = {"eta": 0.5, "seed": 77, "dtype": "float16"}.get(field, "another")
    with pytest.raises(UsageError, match=f"its {field} is"):
        drain(
            render_recipes(
                tiny_model,
                tiny_run,
                [dataclasses.replace(recipes["nothing"], **{field: other})],
                tiny_run.home,
            )
        )


def test_sites_and_donors_that_are_not_there_are_said(tiny_model, tiny_run, recipes):
    swap = recipes["swap"].edits[0]
    for change, message in (
        ({"sites": ("skip.9",)}, "no site 'skip.9'"),
        ({"donor": DonorRef(run=tiny_run.name, sample=99)}, "sample 99 is not in run"),
        ({"donor": DonorRef(run="gone-1", sample=0)}, "no run"),
    ):
        recipe = recipe_of(tiny_run, 1, [changed(swap, **change)])
        with pytest.raises(UsageError, match=message):
            drain(render_recipes(tiny_model, tiny_run, [recipe], tiny_run.home))


def test_every_edit_says_its_amount_sites_and_donor(recipes):
    said = {name: [edit.in_words for edit in recipe.edits] for name, recipe in recipes.items()}
    assert said["nothing"] == [] and said["shift, strength 0"] == [""]
    (shift,), (distance,), (swap, *_) = said["shift"], said["distance"], said["swap"]
    assert shift.startswith("strength ") and distance.startswith("distance ")
    donor = recipes["swap"].edits[0].donor.sample
    assert swap == f"{' + '.join(recipes['swap'].edits[0].sites)}, from sample {donor}"
