"""Every kind of pixels that Pillow opens: the tones that they mean, or a refusal."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from tiny import make_unet, save_pipeline

from hcache.cards import default_spec
from hcache.errors import UsageError
from hcache.extraction.run import extract
from hcache.images.pictures import greyed, prepare_picture
from hcache.models.loading import load_model

SIDE = 64
RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def prepared(data, name="a"):
    return prepare_picture(data, name, SIDE, SIDE)


def grey16():
    return Image.fromarray((RAMP * 65535).round().astype(np.uint16))


def assert_ramp(found, within=1):
    expected = np.repeat((RAMP * 255)[..., None], 3, -1)
    assert np.abs(found.pixels.astype(float) - expected).max() <= within


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_tones_keep_their_place_between_black_and_white(kind):
    found = prepared(saved(grey16(), kind))
    assert_ramp(found)
    assert any("16-bit" in note for note in found.notes)


def test_big_endian_and_12_bit_and_white_is_zero_tiffs():
    values = (RAMP * 65535).round().astype(">u2")
    assert_ramp(prepared(tiff(values.tobytes(), 16, 1, b"MM")))
    assert_ramp(
        prepared(tiff((65535 - values.astype(np.uint16)).astype("<u2").tobytes(), 16, 0, b"II"))
    )
    twelve = (RAMP * 4095).round().astype(np.uint16).reshape(-1, 2)
    packed = np.stack(
        [twelve[:, 0] >> 4, (twelve[:, 0] & 15) << 4 | twelve[:, 1] >> 8, twelve[:, 1] & 255], -1
    )
    assert_ramp(prepared(tiff(packed.astype(np.uint8).tobytes(), 12, 1, b"II")))


def tiff(data, bits, photometric, order):
    """A TIFF of one strip, by hand: Pillow writes none of these."""
    import struct

    e = "<" if order == b"II" else ">"
    entries = [
        (256, 4, SIDE),
        (257, 4, SIDE),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, SIDE),
        (279, 4, len(data)),
    ]
    ifd = struct.pack(e + "H", len(entries))
    for tag, kind, value in entries:
        ifd += struct.pack(e + "HHI", tag, kind, 1)
        ifd += struct.pack(e + "HH", value, 0) if kind == 3 else struct.pack(e + "I", value)
    return order + struct.pack(e + "HI", 42, 8 + len(data)) + data + ifd + b"\0\0\0\0"


def test_floats_from_0_to_1_are_tones_and_others_are_refused():
    assert_ramp(prepared(saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF")))
    for values in (RAMP * 255, RAMP - 0.5, np.where(RAMP > 0.5, np.nan, RAMP)):
        with pytest.raises(UsageError, match="scan.tif holds floating-point tones.*expected 0"):
            prepared(saved(Image.fromarray(values.astype(np.float32)), "TIFF"), "scan.tif")
    with pytest.raises(UsageError, match="no value is agreed to be white"):
        prepared(saved(Image.fromarray((RAMP * 1e6).astype(np.int32)), "TIFF"))


@pytest.mark.parametrize(
    "mode", ["L", "LA", "P", "1", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_every_mode_of_8_bits_comes_out_as_the_grey_that_it_was(mode):
    grey = Image.fromarray((RAMP * 255).round().astype(np.uint8))
    if mode == "LAB":
        image = Image.merge("LAB", [grey, *[Image.new("L", grey.size, 128)] * 2])
    else:
        image = (grey if mode in ("L", "LA", "1") else grey.convert("RGB")).convert(mode)
    from hcache.images.colours import in_srgb

    found, notes = in_srgb(image, image, "a")
    pixels = np.asarray(found).astype(float)
    assert pixels.shape == (SIDE, SIDE, 3)
    if mode == "1":
        assert set(np.unique(pixels)) == {0, 255} and abs(pixels.mean() - 127.5) < 2
    elif mode == "LAB":  # L* is no luminance: black, white and neutrality are what must hold
        assert (
            pixels[0, 0].max() <= 1
            and pixels[-1, -1].min() >= 254
            and np.ptp(pixels, axis=-1).max() <= 4
        )
        assert (np.diff(pixels[..., 1].ravel()) >= 0).all()
    elif mode == "P":  # a palette has few colours
        assert (pixels == np.asarray(image.convert("RGB"))).all()
    else:
        assert np.abs(pixels - (RAMP * 255)[..., None]).max() <= 3


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "I;16"])
def test_a_colour_that_a_png_calls_transparent_becomes_white(mode):
    pixels = np.full((SIDE, SIDE), 40, np.uint16 if mode == "I;16" else np.uint8)
    pixels[:, 32:] = 200
    image = Image.fromarray(pixels)
    image = image if mode in ("I;16", "L") else image.convert("RGB")
    if mode == "P":
        image = image.quantize(4)
        clear = int(np.asarray(image)[0, 0])
    else:
        clear = (40, 40, 40) if mode == "RGB" else 40
    found = prepared(saved(image, "PNG", transparency=clear))
    assert (found.pixels[:, :32] == 255).all() and not (found.pixels[:, 32:] == 255).any()
    assert any("transparent" in note for note in found.notes)


def wide_profile():
    """A profile that is not sRGB: that of CIE L*a*b* is none of RGB, so one is made with its red
    and blue swapped.
    """
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    table = int.from_bytes(data[128:132], "big")
    places = {bytes(data[132 + 12 * i : 136 + 12 * i]): 136 + 12 * i for i in range(table)}
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    data[red : red + 8], data[blue : blue + 8] = data[blue : blue + 8], data[red : red + 8]
    return (
        bytes(data)
        .replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
        .replace(b"sRGB", b"swap")
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_colour_profile_is_turned_to_srgb(kind):
    red = Image.new("RGB", (SIDE, SIDE), (230, 20, 20))
    found = prepared(saved(red, kind, icc_profile=wide_profile()))
    assert np.abs(found.pixels.astype(int) - [20, 20, 230]).max() < 8
    assert any("colour profile" in note for note in found.notes)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = prepared(saved(red, "PNG", icc_profile=srgb))
    assert not plain.notes and (plain.pixels == [230, 20, 20]).all()
    broken = prepared(saved(red, "PNG", icc_profile=b"no profile"))
    assert (broken.pixels == [230, 20, 20]).all() and "left out" in broken.notes[0]


def test_the_first_of_several_pictures_is_taken_and_said():
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "blue")]
    found = prepared(saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    assert (
        "the first of its 2 pictures" in found.notes and (found.pixels[0, 0] == [255, 0, 0]).all()
    )


def test_luminance_is_pillows():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    assert np.abs(greyed(pixels)[..., 0].astype(int) - expected).max() <= 1


def test_a_grey_model_inverts_luminance_and_is_held_against_it(tmp_path):
    folder = save_pipeline(tmp_path / "grey", make_unet(in_channels=1, out_channels=1))
    model = load_model(str(folder))
    colours = np.zeros((16, 16, 3), np.uint8)
    colours[..., 1] = 200  # green: no red at all, and 117 of luminance
    errors = []
    for pixels in (colours, greyed(colours[None])[0]):
        picture = prepare_picture(saved(Image.fromarray(pixels), "PNG"), "a", 16, 16)
        spec = default_spec(str(folder), samples=1, steps=4, images=(picture.digest,))
        picture.save(tmp_path / "home" / "runs" / spec.name / "images")
        run = extract(model, spec, tmp_path / "home")
        errors.append(float(run.labels["inversion"]["reconstruction_error"][0]))
    assert errors[0] == errors[1], "a colour picture is what its luminance is"
