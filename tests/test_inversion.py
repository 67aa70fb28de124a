"""Real pictures: made ready, inverted, denoised again; and everything that is no picture."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import assert_same_contents, make_unet, model_of

from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.errors import Interrupted, UsageError
from hcache.extraction.run import extract
from hcache.extraction.shard import reconstruction_error
from hcache.images.pictures import MOST_PIXELS, load_prepared, prepare_picture
from hcache.sampling.inversion import invert
from hcache.sampling.loop import denoise


def png(image, **options):
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    return data.getvalue()


def ramp(width, height, mode="RGB"):
    """Dark on the left, bright on the right; red at the top, blue at the bottom."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * (1 - y / height), 255 * x / width, 255 * y / height], -1).astype(
        np.uint8
    )
    return Image.fromarray(pixels).convert(mode)


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    found = prepare_picture(png(ramp(16, 16)), "a", 16, 16)
    assert not found.notes and np.array_equal(found.pixels, np.asarray(ramp(16, 16)))
    assert prepare_picture(png(Image.fromarray(found.pixels)), "b", 16, 16).digest == found.digest


def test_exif_turns_it_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    found = prepare_picture(png(ramp(16, 16), exif=exif), "a", 16, 16)
    assert "turned upright by its EXIF" in found.notes
    assert np.array_equal(found.pixels, np.rot90(np.asarray(ramp(16, 16)), -1))


def test_transparency_becomes_white():
    image = ramp(16, 16, "RGBA")
    image.putalpha(0)
    found = prepare_picture(png(image), "a", 16, 16)
    assert (found.pixels == 255).all() and "white" in found.notes[0]
    assert not prepare_picture(png(ramp(16, 16, "RGBA")), "a", 16, 16).notes, (
        "an alpha that hides nothing"
    )


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "I;16"])
def test_other_modes_become_colour(mode):
    image = Image.new("I;16", (16, 16), 30000) if mode == "I;16" else ramp(16, 16, mode)
    assert prepare_picture(png(image), "a", 16, 16).pixels.shape == (16, 16, 3)


def test_the_centre_is_cropped_and_that_is_said():
    found = prepare_picture(png(ramp(64, 32)), "a", 16, 16)
    assert found.pixels.shape == (16, 16, 3) and found.notes == (
        "cropped to its centre",
        "resized from 64 x 32",
    )
    green = found.pixels[8, :, 1].astype(int)
    assert green[0] > 55 and green[-1] < 200, "the left and right quarters are gone"


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"GIF89a" + b"\xff" * 20]
)
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(UsageError, match="holiday.png is not a picture"):
        prepare_picture(data, "holiday.png", 16, 16)


def test_a_bomb_of_pixels_is_refused_unopened():
    side = int(MOST_PIXELS**0.5) + 1
    data = png(Image.new("1", (side, side)))
    assert len(data) < 100_000
    with pytest.raises(UsageError, match="million"):
        prepare_picture(data, "bomb.png", 16, 16)
    with pytest.raises(UsageError):
        prepare_picture(
            png(Image.new("1", (side * 2, side * 2))), "larger than Pillow takes", 16, 16
        )


@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [6, 7, 20])
def test_inversion_of_a_linear_model_is_exact(spacing, steps, to_one):
    """With ε = 0 every step only scales x, and scaling is undone exactly."""
    unet = make_unet()
    unet.conv_out.weight.zero_()
    unet.conv_out.bias.zero_()
    model = model_of(unet, clip_sample=False, timestep_spacing=spacing, set_alpha_to_one=to_one)
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    *_, noise = invert(model, x, steps)
    *_, last = denoise(model, steps=steps, x_t=noise)
    torch.testing.assert_close(last.x_next, x, atol=1e-5, rtol=1e-5)


def test_more_steps_invert_better():
    unet = make_unet()
    unet.conv_out.weight.mul_(
        0.1
    )  # as a trained model's, whose output hardly changes from one step to the next
    model = model_of(unet, clip_sample=False, beta_end=0.004)
    x = torch.tanh(torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    errors = []
    for steps in (5, 50, 250):
        *_, noise = invert(model, x, steps)
        *_, last = denoise(model, steps=steps, x_t=noise)
        errors.append(float((last.x_next - x).square().mean().sqrt()))
    assert errors[2] < errors[1] < errors[0] and errors[2] < 0.1


@pytest.fixture
def pictures(tmp_path):
    """Three files, one of them not square."""
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        ramp(16 + 8 * i, 16).rotate(90 * i).save(path)
    return [str(path) for path in paths]


def test_the_command_makes_a_run_like_any_other_with_its_errors(
    pictures, tiny_folder, tmp_path, capsys
):
    home = tmp_path / "home"
    arguments = [
        "invert",
        str(tiny_folder),
        *pictures,
        "--steps",
        "3",
        "--batch",
        "2",
        "--home",
        str(home),
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "cropped to its centre" in printed.err and "reconstruction error" in printed.out
    (name,) = [path.name for path in (home / "runs").iterdir()]
    run = open_run(name, home)
    assert run.real and len(run) == 3 and run.complete
    error = run.labels["inversion"]["reconstruction_error"]
    originals = np.stack([run.original(i) for i in range(3)])
    np.testing.assert_allclose(error, reconstruction_error(originals, run.images), rtol=1e-6)
    assert np.array_equal(originals[0], np.asarray(ramp(16, 16)))
    assert main(arguments) == 0, "again: nothing is left to do"


def test_an_interrupted_inversion_goes_on_to_the_same_arrays(
    pictures, tiny_model, tiny_folder, tmp_path
):
    prepared = [prepare_picture(open(path, "rb").read(), path, 16, 16) for path in pictures]
    digests = tuple(picture.digest for picture in prepared)
    spec = default_spec(str(tiny_folder), samples=3, steps=3, batch=2, images=digests)
    homes = [tmp_path / "whole", tmp_path / "broken"]
    for home in homes:
        for picture in prepared:
            picture.save(home / "runs" / spec.name / "images")
    whole = extract(tiny_model, spec, homes[0])
    asked = iter([False] * 8 + [True] * 100)
    with pytest.raises(Interrupted):
        extract(tiny_model, spec, homes[1], stop=lambda: next(asked))
    assert_same_contents(extract(tiny_model, spec, homes[1]), whole)


def test_a_picture_that_is_gone_is_missed_in_words(tmp_path):
    with pytest.raises(UsageError, match="gone"):
        load_prepared(tmp_path, "abc")


def test_an_inversion_is_of_its_pictures_and_without_noise(tiny_folder):
    for change in ({"samples": 2}, {"samples": 1, "eta": 0.5}):
        with pytest.raises(UsageError, match="inversion"):
            default_spec(str(tiny_folder), images=("a",), **change)
