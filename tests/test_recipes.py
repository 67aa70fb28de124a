"""A recipe gives its picture again, bit for bit, and anything else is refused in one clear line."""

import dataclasses
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import drain

from hcache.cache.layout import RENDERS
from hcache.cache.pngs import png_bytes, read_picture, read_recipe
from hcache.directions.direction import digest_of, random_direction, spread
from hcache.directions.fitting import Fit
from hcache.directions.store import save_move
from hcache.edits.mask import Mask
from hcache.edits.recall import reference_to
from hcache.edits.recipe import DonorRef, FreeUEdit, Place, Recipe, ShiftEdit, SlerpEdit, SwapEdit, recipe_of
from hcache.edits.render import ROWS, render_again, render_recipes
from hcache.edits.renders import find_render, render_kept, trim
from hcache.edits.sheet import Box, Cell, read_cells, sheet_text
from hcache.edits.swaps import home_of
from hcache.edits.window import Window
from hcache.errors import AnalysisError, UsageError
from hcache.figures.pictures import contact_sheet

ALWAYS = Window(first=0, last=3)
MASK = Mask(rectangle=(0.1, 0.2, 0.7, 0.9))


@pytest.fixture(scope="module")
def direction(tiny_run):
    made_by = Fit(method="random", run=tiny_run.name).to_json()
    found = random_direction(spread(tiny_run), 0, tiny_run.spec.model, tiny_run.timesteps)
    return dataclasses.replace(found, made_by=made_by)


@pytest.fixture(scope="module")
def recipes(tiny_run, direction):
    """One of every kind, with windows, shapes and masks, from several samples."""
    donor, ref = DonorRef(run=tiny_run.name, sample=3), reference_to(direction, "noise")
    late, swap = Window(first=2, last=3), SwapEdit(sites=("skip.2",), donor=donor, alpha=1.0, window=ALWAYS)
    shift = ShiftEdit(direction=ref, strength=2.0, window=ALWAYS)
    edits = {
        "nothing": [],
        "shift": [shift],
        "shift, strength 0": [dataclasses.replace(shift, strength=0)],
        "shift, per step, masked": [dataclasses.replace(shift, per_step=True, mask=MASK)],
        "swap": [swap],
        "swap late, falling": [dataclasses.replace(swap, sites=("h", "skip.1.1"), alpha=0.5,
                                                   window=Window(first=1, last=3, shape="falling"))],
        "slerp": [SlerpEdit(donor=donor, window=late)],
        "slerp, rising, masked": [SlerpEdit(donor=donor, gamma=0.9, mask=MASK,
                                            window=Window(first=0, last=2, shape="rising"))],
        "all": [shift, swap, SlerpEdit(donor=donor, window=late)],
    }  # fmt: skip
    found = {name: recipe_of(tiny_run, 5 + i % 3, list_) for i, (name, list_) in enumerate(edits.items())}
    found["asymmetric"] = dataclasses.replace(found["shift"], asymmetric=True)
    found["boosted"] = dataclasses.replace(found["swap late, falling"], t_boost=600)
    found["asymmetric, boosted"] = dataclasses.replace(found["all"], asymmetric=True, t_boost=300)
    return found


@pytest.fixture(scope="module")
def cells(tiny_model, tiny_run, recipes, direction):
    shares, found = drain(
        render_recipes(tiny_model, tiny_run, list(recipes.values()), home_of(tiny_run),
                       {digest_of(direction): direction})
    )  # fmt: skip
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    return dict(zip(recipes, found, strict=True))


KINDS = ("nothing", "shift", "shift, strength 0", "shift, per step, masked", "swap", "swap late, falling", "slerp",
         "slerp, rising, masked", "all", "asymmetric", "boosted", "asymmetric, boosted")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_gives_its_picture_again_bit_for_bit(tiny_model, tiny_run, cells, kind):
    """Alone, from the text in its PNG; the direction is fitted again."""
    data = cells[kind].png
    (cell,) = read_cells(read_recipe(data))
    _, again = drain(render_again(tiny_model, tiny_run, cell.recipe, home_of(tiny_run)))
    np.testing.assert_array_equal(again.picture, cells[kind].picture)
    np.testing.assert_array_equal(read_picture(data), cells[kind].picture)
    assert again.recipe == cell.recipe == cells[kind].recipe


def test_more_recipes_than_a_batch_takes_go_into_several(tiny_model, tiny_run, recipes):
    many = [dataclasses.replace(recipes["swap late, falling"], sample=i % 12) for i in range(ROWS + 3)]
    many = [recipe_of(tiny_run, r.sample, r.edits) for r in many]
    _, found = drain(render_recipes(tiny_model, tiny_run, many, home_of(tiny_run)))
    assert {cell.recipe.place.rows for cell in found} == {ROWS, 3}
    assert {cell.recipe.place.first for cell in found} == {1}, "from the first edited step"
    _, again = drain(render_again(tiny_model, tiny_run, found[-1].recipe, home_of(tiny_run)))
    np.testing.assert_array_equal(again.picture, found[-1].picture)


def test_edits_of_nothing_give_the_cached_picture(tiny_model, tiny_run, direction, recipes):
    """In the batch that the run was made in: a shard is rendered whole."""
    idle = recipes["shift, strength 0"].edits
    for asymmetric in (False, True):
        for shard in tiny_run.shards:
            samples = range(shard.start, shard.stop)
            for edits in (idle, ()):
                listed = [recipe_of(tiny_run, sample, edits, asymmetric=asymmetric) for sample in samples]
                moves = {digest_of(direction): direction}
                _, found = drain(render_recipes(tiny_model, tiny_run, listed, home_of(tiny_run), moves))
                np.testing.assert_array_equal(np.stack([c.picture for c in found]), tiny_run.images[list(samples)])


def test_asymmetric_and_boosted_pictures_are_others(cells):
    assert not np.array_equal(cells["asymmetric"].picture, cells["shift"].picture)
    assert not np.array_equal(cells["boosted"].picture, cells["swap late, falling"].picture)


def test_a_noise_boost_is_eta_1_below_t_boost(tiny_model, tiny_run):
    """Boosted over all steps, a picture is that of a run with eta 1 from the same noise."""
    from hcache.sampling.loop import denoise

    *_, last = denoise(tiny_model, [tiny_run.seed(4)], 4, 1.0)
    _, (cell,) = drain(render_recipes(tiny_model, tiny_run, [recipe_of(tiny_run, 4, t_boost=1001)], home_of(tiny_run)))
    np.testing.assert_array_equal(cell.picture, tiny_model.to_images(last.x_next).numpy()[0])
    *_, late = denoise(tiny_model, [tiny_run.seed(4)], 4, [0, 0, 0, 1])
    t = tiny_run.timesteps[2]
    _, (cell,) = drain(render_recipes(tiny_model, tiny_run, [recipe_of(tiny_run, 4, t_boost=t)], home_of(tiny_run)))
    assert cell.recipe.place.first == 3, "nothing is another before"
    assert np.abs(cell.picture.astype(int) - tiny_model.to_images(late.x_next).numpy()[0]).max() <= 1


def test_one_eta_a_step_is_checked(tiny_model):
    from hcache.sampling.loop import denoise

    with pytest.raises(UsageError, match="one a step: 4; got 3"):
        next(denoise(tiny_model, [1], 4, [0, 0, 1]))
    with pytest.raises(UsageError, match="eta must lie"):
        next(denoise(tiny_model, [1], 4, [0, 0, 1, 2]))


def test_the_digest_is_over_what_decides_the_picture(recipes, cells):
    assert len({recipe.digest for recipe in recipes.values()}) == len(recipes)
    for name, cell in cells.items():
        assert cell.recipe.digest == recipes[name].digest and cell.recipe != recipes[name]
    shift = recipes["shift"]
    renamed = dataclasses.replace(shift.edits[0].direction, name="another name", made_by={})
    assert (
        dataclasses.replace(shift, edits=[dataclasses.replace(shift.edits[0], direction=renamed)]).digest
        == shift.digest
    )
    for change in ({"sample": 1}, {"asymmetric": True}, {"t_boost": 3}, {"edits": ()}, {"weights": "0"}):
        assert dataclasses.replace(shift, **change).digest != shift.digest


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_is_json_and_back(cells, kind):
    recipe = cells[kind].recipe
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


class TestDirections:
    def test_a_saved_direction_is_taken_by_its_digest_whatever_its_name(self, tiny_model, copied_run, direction, cells):
        made_elsewhere = dataclasses.replace(direction, made_by={"method": "imported"})
        save_move(copied_run, "some other name", made_elsewhere)
        recipe = cells["shift"].recipe
        edit = dataclasses.replace(recipe.edits[0], direction=reference_to(made_elsewhere, "noise"))
        recipe = dataclasses.replace(recipe, edits=[edit])
        _, again = drain(render_again(tiny_model, copied_run, recipe, home_of(copied_run)))
        np.testing.assert_array_equal(again.picture, cells["shift"].picture)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"made_by": {}}, "does not say how to make it again"),
            ({"digest": "0" * 12}, "came out as another"),
            ({"made_by": {"method": "random", "run": "gone-123"}}, r"\(gone-123\) is not here"),
            ({"made_by": {"method": "nonsense"}, "run": True}, "cannot be fitted again: no method 'nonsense'"),
        ],
    )
    def test_one_that_is_gone_and_cannot_be_made_again_is_said(self, tiny_model, tiny_run, cells, changes, message):
        if changes.pop("run", False):
            changes["made_by"]["run"] = tiny_run.name
        recipe = cells["shift"].recipe
        changes = {"digest": "f" * 12, **changes}
        edit = dataclasses.replace(recipe.edits[0], direction=dataclasses.replace(recipe.edits[0].direction, **changes))
        with pytest.raises(UsageError, match=message):
            drain(render_again(tiny_model, tiny_run, dataclasses.replace(recipe, edits=[edit]), home_of(tiny_run)))

    def test_one_of_other_steps_is_refused_unless_it_is_to_be_resampled(self, tiny_model, tiny_run, direction, recipes):
        half = direction.resampled(tiny_run.timesteps[::2])
        edit = dataclasses.replace(recipes["shift"].edits[0], direction=reference_to(half))
        moves = {digest_of(half): half}
        with pytest.raises(AnalysisError, match="2 steps from t = .* has 4 .*resample it"):
            drain(render_recipes(tiny_model, tiny_run, [recipe_of(tiny_run, 1, [edit])], home_of(tiny_run), moves))
        edit = dataclasses.replace(edit, resample=True)
        _, (cell,) = drain(
            render_recipes(tiny_model, tiny_run, [recipe_of(tiny_run, 1, [edit])], home_of(tiny_run), moves)
        )
        assert Recipe.from_json(cell.recipe.to_json()).edits[0].resample

    def test_one_of_another_model_is_refused(self, tiny_model, tiny_run, direction, recipes):
        other = dataclasses.replace(direction, model="another model")
        with pytest.raises(AnalysisError, match="fitted on another model"):
            drain(render_recipes(tiny_model, tiny_run, [recipes["shift"]], home_of(tiny_run),
                                 {digest_of(direction): other}))  # fmt: skip


class Counted:
    """A model that counts how often its U-Net is run."""

    def __init__(self, model):
        self.model, self.calls, self.loads = model, 0, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self):
        self.loads += 1
        return self

    def encode(self, *arguments):
        self.calls += 1
        return self.model.encode(*arguments)


class TestRenders:
    @pytest.fixture
    def listed(self, copied_run, recipes):
        return [recipe_of(copied_run, sample, recipes["nothing"].edits, t_boost=1000) for sample in (3, 4, 3)]

    def test_what_was_rendered_is_not_rendered_again(self, tiny_model, copied_run, listed):
        model = Counted(tiny_model)
        _, first = drain(render_kept(model, copied_run, listed, home_of(copied_run)))
        assert (model.loads, model.calls) == (1, copied_run.spec.steps)
        assert first[0] is first[2] and first[0].recipe.place.rows == 2, "one and the same is rendered once"
        _, again = drain(render_kept(model, copied_run, listed, home_of(copied_run)))
        assert (model.loads, model.calls) == (1, copied_run.spec.steps), "not even loaded"
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a.picture, b.picture)
            assert a.recipe == b.recipe, "with the place in which it was rendered"
        more = [*listed, recipe_of(copied_run, 5, t_boost=1000)]
        _, cells = drain(render_kept(model, copied_run, more, home_of(copied_run)))
        assert model.loads == 2 and cells[3].recipe.place.rows == 1, "the missing one alone"

    @pytest.mark.parametrize("how", ["cut off", "other pixels", "another's", "no recipe", "empty"])
    def test_a_damaged_cell_is_rendered_again(self, tiny_model, copied_run, listed, how):
        model = Counted(tiny_model)
        _, (cell, other, _) = drain(render_kept(model, copied_run, listed, home_of(copied_run)))
        path = copied_run.folder / RENDERS / f"{cell.recipe.digest}.png"
        spoilt = {
            "cut off": cell.png[:-40],
            "other pixels": png_bytes(cell.picture[::-1], cell.recipe.to_text()),
            "another's": other.png,
            "no recipe": png_bytes(cell.picture),
            "empty": b"",
        }
        path.write_bytes(spoilt[how])
        assert find_render(copied_run, listed[0]) is None
        _, again = drain(render_kept(model, copied_run, listed[:1], home_of(copied_run)))
        assert model.loads == 2 and path.read_bytes() == again[0].png

    def test_they_are_bounded_and_the_least_recently_used_go_first(self, tiny_model, copied_run):
        listed = [recipe_of(copied_run, sample, t_boost=1000) for sample in range(6)]
        _, cells = drain(render_kept(lambda: tiny_model, copied_run, listed, home_of(copied_run)))
        paths = [copied_run.folder / RENDERS / f"{recipe.digest}.png" for recipe in listed]
        for age, path in enumerate(paths):
            os.utime(path, (1000 + age, 1000 + age))
        assert find_render(copied_run, listed[0]) is not None, "used just now"
        trim(copied_run, sum(path.stat().st_size for path in paths[3:]))
        kept = [path.exists() for path in paths]
        assert kept[0] and not kept[1] and not kept[2] and kept[5]
        assert not [p for p in (copied_run.folder / RENDERS).iterdir() if p.suffix != ".png"]

    def test_nothing_can_be_kept_where_nothing_can_be_written(self, tiny_model, copied_run, listed):
        (copied_run.folder / RENDERS).write_text("in the way")
        _, cells = drain(render_kept(lambda: tiny_model, copied_run, listed, home_of(copied_run)))
        assert len(cells) == 3


class TestSheets:
    def test_each_cell_of_a_sheet_carries_its_own_recipe(self, cells):
        pictures = np.stack([cell.picture for cell in cells.values()])
        sheet, boxes = contact_sheet(pictures, 5)
        listed = [Cell(recipe=c.recipe, box=Box(left=b[0], top=b[1], width=b[2], height=b[3]), title=name)
                  for (name, c), b in zip(cells.items(), boxes, strict=True)]  # fmt: skip
        data = png_bytes(sheet, sheet_text(listed))
        found, pixels = read_cells(read_recipe(data)), read_picture(data)
        assert list(found) == listed
        for cell, picture in zip(found, pictures, strict=True):
            b = cell.box
            np.testing.assert_array_equal(pixels[b.top : b.top + b.height, b.left : b.left + b.width], picture)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (png_bytes(np.zeros((4, 4, 3), np.uint8)), "carries no recipe"),
            (b"", "not a PNG"),
            (b"\xff\xd8\xff\xe0" + bytes(100), "not a PNG"),
            (png_bytes(np.zeros((4, 4, 3), np.uint8), "x" * 5000)[:300], "not a PNG"),
        ],
    )
    def test_a_picture_without_a_recipe_says_so(self, data, message):
        with pytest.raises(UsageError, match=message):
            read_recipe(data)

    def test_a_picture_carries_so_much_and_no_more(self, monkeypatch):
        monkeypatch.setattr("hcache.cache.pngs.MOST_TEXT", 1000)
        picture = np.zeros((4, 4, 3), np.uint8)
        assert read_recipe(png_bytes(picture, "ü" * 500)) == "ü" * 500
        with pytest.raises(UsageError, match="fewer cells"):
            png_bytes(picture, "ü" * 501)
        monkeypatch.setattr("hcache.cache.pngs.MOST_TEXT", 2000)
        data = png_bytes(picture, "ü" * 501)
        monkeypatch.setattr("hcache.cache.pngs.MOST_TEXT", 1000)
        with pytest.raises(UsageError, match="larger than 1000"):
            read_recipe(data)


@pytest.fixture(scope="module")
def good(cells):
    """A recipe of everything, as data."""
    recipe = cells["asymmetric, boosted"].recipe
    masked = dataclasses.replace(recipe.edits[1], mask=Mask.from_array(np.eye(4)), sites=("h", "skip.2.1"))
    free = FreeUEdit(b1=1.2, b2=1.4, s1=0.9, s2=0.2)
    return dataclasses.replace(
        recipe, edits=(*recipe.edits, masked, free), place=Place(row=1, rows=2, first=0)
    ).to_json()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 2, "newer hcache"),
        (("schema",), "1", "schema must be a whole number"),
        (("format",), None, "not a recipe"),
        (("sample",), -1, "sample must be a whole number"),
        (("sample",), True, "sample must be a whole number"),
        (("run",), "../../etc", "run must be a run's name"),
        (("steps",), 3, "go to 3, and the run has 3"),
        (("eta",), float("nan"), "eta must be a number"),
        (("t_boost",), float("inf"), "t_boost must be a number"),
        (("nonsense",), 1, "nonsense is not a field"),
        (("edits",), {}, "edits must be a list"),
        (("edits", 0), 5, r"edits\[0\] must be an object"),
        (("edits", 0, "kind"), "paint", r"edits\[0\].kind must be shift"),
        (("edits", 0, "strength"), "2", r"edits\[0\].strength must be a number"),
        (("edits", 0, "strength"), 1e999, r"edits\[0\].strength must be a number"),
        (("edits", 0, "direction", "digest"), "xyz", "12 hex digits"),
        (("edits", 0, "direction", "made_by"), [1], "made_by must be an object"),
        (("edits", 1, "alpha"), 1.5, r"edits\[1\].alpha must be a number from 0 to 1"),
        (("edits", 1, "sites"), [], "needs sites"),
        (("edits", 1, "sites"), ["x"], r"edits\[1\].sites.0 must be h, skip.1"),
        (("edits", 1, "donor", "run"), 3, r"edits\[1\].donor.run must be a run's name"),
        (("edits", 1, "window", "last"), -1, "window.last must be a whole number"),
        (("edits", 1, "window", "first"), 4, "goes from first to last"),
        (("edits", 1, "window", "shape"), "square", "window.shape must be one of constant"),
        (("edits", 2, "gamma"), -1, r"edits\[2\].gamma must be"),
        (("edits", 3, "mask"), {"png": "AAAA"}, "no PNG file"),
        (("edits", 3, "mask"), {"rectangle": [0, 0, 1]}, "left, top, right, bottom"),
        (("edits", 3, "mask"), {"rectangle": [0.5, 0, 0.5, 1]}, "left < right"),
        (("edits", 4, "b1"), 0, "more than 0"),
        (("place", "row"), 2, "row 2 of 2"),
        (("place", "rows"), 10**9, "place.rows must be"),
        (("pixels",), "zz", "64 hex digits"),
        (("conditioning",), {"prompts": ["a", "b"]}, "at most 1"),
        (("conditioning",), {"guidance": 0}, "guidance must be"),
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
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_recipe_holds_is_taken_or_refused_in_words(good, data):
    """Any one value anywhere in a good recipe is put in the place of another."""
    copy = json.loads(json.dumps(good))
    at, key = {"top": copy}, "top"
    while isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans() if key != "top" else st.just(True)):
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
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"format": "hcache recipe", "schema": 1e999}']
)
def test_hostile_json_is_refused(text):
    with pytest.raises(UsageError):
        read_cells(text)


@pytest.mark.parametrize("field", ["model", "weights", "run", "seed", "eta", "dtype"])
def test_a_recipe_of_another_run_says_what_differs(tiny_model, tiny_run, recipes, field):
    other = {"eta": 0.5, "seed": 77, "dtype": "float16"}.get(field, "another")
    with pytest.raises(UsageError, match=f"its {field} is"):
        drain(render_recipes(tiny_model, tiny_run, [dataclasses.replace(recipes["nothing"], **{field: other})],
                             home_of(tiny_run)))  # fmt: skip


def test_sites_and_donors_that_are_not_there_are_said(tiny_model, tiny_run, recipes):
    swap = recipes["swap"].edits[0]
    for change, message in (
        ({"sites": ("skip.9",)}, "no site 'skip.9'"),
        ({"donor": DonorRef(run=tiny_run.name, sample=99)}, "sample 99 is not in run"),
        ({"donor": DonorRef(run="gone-1", sample=0)}, "no run"),
    ):
        recipe = recipe_of(tiny_run, 1, [dataclasses.replace(swap, **change)])
        with pytest.raises(UsageError, match=message):
            drain(render_recipes(tiny_model, tiny_run, [recipe], home_of(tiny_run)))
