"""From a run to its figures for print: defaults, recipes, captions, saved directions, the shell."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from recipe_kinds import noise_of
from tiny import drain

from hcache.cache.labels import save_labels
from hcache.directions.direction import digest_of
from hcache.directions.fitting import METHODS
from hcache.directions.store import delete_move, save_move
from hcache.edits.render import render_again
from hcache.errors import UsageError
from hcache.figures import choices, notebook
from hcache.figures.choices import Grid, Strip, default_grid, default_strip, default_swaps
from hcache.figures.drawing import Style
from hcache.figures.making import Maker
from hcache.images.pngs import read_recipe
from hcache.progress import drive
from hcache.recipes.sheet import read_cells

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def labelled(copied_run):
    values = {
        name: {int(s): float(v) for s, v in zip(copied_run.sample_ids, order, strict=True)}
        for name, order in (("size", np.arange(12)), ("hue", np.arange(12)[::-1] ** 2))
    }
    save_labels(copied_run, "mine", values)
    return copied_run


def test_every_picture_of_a_figure_is_rendered_again_to_the_last_bit(labelled, tiny_model):
    """The defaults of all three, through the PNG and back; the second time nothing is rendered."""
    maker = Maker(run=labelled, load=lambda: tiny_model)
    strip = Strip(
        **{
            **vars(default_strip(labelled)),
            "ways": ("naive", "supervised", "random"),
            "strengths": (0, 1.5),
        }
    )
    grid = Grid(
        **{**vars(default_grid(labelled)), "ways": ("naive", "supervised"), "samples": (4, 7)}
    )
    assert (strip.label, grid.attributes, strip.sample) == ("size", ("size", "hue"), 5)
    for choice, count in ((default_swaps(labelled), 6), (strip, 6), (grid, 12)):
        yielded, made = drain(maker.make(choice))
        assert yielded == sorted(yielded) and 0 <= yielded[0] and yielded[-1] <= 1
        figure = notebook.draw(made, Style())
        cells = read_cells(read_recipe(figure.png(1)))
        assert len(cells) == len(figure.pictures) == count
        again = drive(
            render_again(
                tiny_model, labelled, [c.recipe for c in cells], labelled.folder.parent.parent
            )
        )
        for picture, repeated in zip(figure.pictures, again, strict=True):
            np.testing.assert_array_equal(picture.pixels, repeated.picture)
        kept = Maker(
            run=labelled,
            load=lambda: pytest.fail("what was rendered is there"),
            fitted=dict(maker.fitted),
        )
        assert drive(kept.make(choice)) is not None
    assert not np.array_equal(figure.pictures[0].pixels, figure.pictures[1].pixels), (
        "the grid shows something"
    )
    np.testing.assert_array_equal(figure.pictures[0].pixels, labelled.images[labelled.position(4)])


def test_captions_name_model_run_samples_steps_methods_and_strengths(labelled, tiny_model):
    maker = Maker(run=labelled, load=lambda: tiny_model)
    choice = Strip(
        sample=11,
        ways=("naive", "supervised"),
        window=choices.Window(first=1, last=2),
        label="size",
        top=3,
        strengths=(0, 2),
        asymmetric=False,
    )
    caption = drive(maker.make(choice)).caption
    steps = f"steps 1 to 2 of 4 (t = {labelled.timesteps[1]} to {labelled.timesteps[2]})"
    for part in (
        f"run {labelled.name}",
        "Sample 11",
        steps,
        "symmetric (P_t and D_t)",
        "strengths 0, 2",
        "(naive, supervised) to the 3 samples with the highest size, supervised also to the 3 with"
        " the lowest.",
        "11 may have taken part in the fit",
    ):
        assert part in caption, caption
    assert (
        "The sample shown took no part in the fit"
        in drive(maker.make(Strip(**{**vars(choice), "sample": 6}))).caption
    )


def test_what_cannot_be_shown_is_said(labelled, tiny_run, tiny_model):
    all_steps = choices.all_steps(labelled)
    maker = Maker(run=labelled, load=lambda: tiny_model)
    for make, message in (
        (
            lambda: drive(maker.make(Strip(sample=0, ways=("naive",), window=all_steps))),
            "fitted to a label",
        ),
        (
            lambda: drive(
                maker.make(Strip(sample=0, ways=("naiv",), window=all_steps, label="size", top=3))
            ),
            "mean naive",
        ),
        (lambda: Strip(sample=0, ways=(), window=all_steps), "1 to 24 ways"),
        (
            lambda: Grid(
                samples=(1,), attributes=("size", "saved:x"), ways=("naive",), window=all_steps
            ),
            "not both",
        ),
        (lambda: default_grid(tiny_run), "has neither"),
        (lambda: notebook.style_of("wide"), "single, double or a number"),
        (lambda: Style(size=2), "4 to 24 points"),
    ):
        with pytest.raises(UsageError, match=message):
            make()
    assert default_strip(tiny_run).ways == (
        "pca",
        "random",
    ), "without labels and directions, what needs neither"


def test_saved_directions_are_rows_and_columns(copied_run, tiny_model, direction):
    save_move(copied_run, "mine", direction)
    figure = notebook.draw(
        drive(Maker(run=copied_run, load=lambda: tiny_model).make(default_grid(copied_run))),
        Style(),
    )
    assert [t.text for t in figure.texts][:2] == ["untouched", "mine"] and len(figure.pictures) == 8
    edits = [picture.recipe.edits for picture in figure.pictures]
    assert [len(found) for found in edits] == [0, 1] * 4 and edits[1][0].direction.name == "mine"


def shown_directions(maker, choice):
    """The digests of the directions in a figure."""
    made = drive(maker.make(choice))
    edits = [edit for row in made.rows for cell in row.cells for edit in cell.recipe.edits]
    return {edit.direction.digest for edit in edits}


def test_a_direction_that_was_saved_anew_under_its_name_is_the_new_one(copied_run, tiny_model):
    """Also where the fitted directions are kept, as they are on the page."""
    maker = Maker(run=copied_run, load=lambda: tiny_model)
    for number in (1, 2):
        move = dataclasses.replace(noise_of(copied_run), made_by={"number": number})
        move = dataclasses.replace(move, delta=move.delta * np.float32(number))
        save_move(copied_run, "mine", move)
        assert shown_directions(maker, default_grid(copied_run)) == {digest_of(move)}
        delete_move(copied_run, "mine")


def test_other_values_of_a_label_are_another_fit(labelled, tiny_model):
    maker = Maker(run=labelled, load=lambda: tiny_model)
    choice = Strip(
        sample=5, ways=("naive",), window=choices.all_steps(labelled), label="size", top=3
    )
    (before,) = shown_directions(maker, choice)
    assert shown_directions(maker, choice) == {before}
    values = {"size": {int(s): float(-s) for s in labelled.sample_ids}}
    save_labels(labelled, "mine", values)
    (after,) = shown_directions(maker, choice)
    assert after != before


def test_the_shell_writes_the_same_figure(labelled, tmp_path, capsys, monkeypatch):
    from hcache.cli.main import main

    home = str(labelled.folder.parent.parent)
    out = [str(tmp_path / f"u.{ending}") for ending in ("pdf", "png")]
    arguments = [
        "figure",
        "u",
        labelled.name,
        "--home",
        home,
        "--donor",
        "3",
        "--width",
        "single",
        "--steps",
        "1-3",
    ]
    assert main([*arguments, "--out", out[0], "--out", out[1]]) == 0
    assert "donor A (sample 3)" in capsys.readouterr().out
    figure = notebook.u_figure(labelled, 3, width="single", steps=(1, 3))
    assert (tmp_path / "u.pdf").read_bytes() == figure.pdf and (
        tmp_path / "u.png"
    ).read_bytes() == figure.png()
    assert (
        main(
            [
                *arguments[:1],
                "strip",
                *arguments[2:5],
                "--way",
                "naive",
                "--label",
                "hue",
                "--strengths",
                "0,1",
                "--samples",
                "2",
                "--out",
                str(tmp_path / "s.svg"),
                "--caption",
                "",
            ]
        )
        == 0
    )
    assert len(list(ET.parse(tmp_path / "s.svg").iter(f"{SVG}image"))) == 2
    for wrong in (
        ["--out", "u.gif"],
        ["--out", out[0], "--steps", "x"],
        ["--out", out[0], "--width", "wide"],
    ):
        assert main([*arguments[:5], *wrong]) == 2


def test_a_method_that_proposes_itself_is_taken_where_none_is_named(tiny_run, monkeypatch):
    """Of positives of a label, or of nothing; and only if there are enough positives."""
    proposed = {method.name for method in METHODS.values() if method.proposed}
    assert proposed == {"naive", "vae", "pca", "random"}
    assert choices.default_ways(tiny_run, "") == ("pca", "random")
    assert choices.default_ways(tiny_run, "size") == ("naive", "vae")
    monkeypatch.setattr(choices, "default_top", lambda run: 4)
    assert choices.default_ways(tiny_run, "size") == ("naive",)
    monkeypatch.setattr(choices, "default_top", lambda run: 1)
    assert choices.default_ways(tiny_run, "size") == ("naive",), (
        "whose own message says what is missing"
    )
