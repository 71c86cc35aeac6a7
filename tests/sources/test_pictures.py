"""Pictures of every kind of pixels, as they are meant to be seen."""

import io

import numpy as np
import pytest
from PIL import Image

from jfl.errors import DataError
from jfl.sources import pictures

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (9, 12, 3), np.uint8)
GREYS = COLOURS[..., 0]
DEEP = RNG.integers(0, 65536, (9, 12), np.uint16)
SCALED = np.rint(DEEP / 257).astype(np.uint8)


def stored(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    return pictures.decode(stored(image, kind, **options), "a.png").squeeze()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind):
    found = decoded(Image.fromarray(DEEP), kind)

    np.testing.assert_array_equal(found, SCALED)
    assert found.dtype == np.uint8
    assert (
        decoded(Image.fromarray(np.full((2, 2), 65535, np.uint16)), kind).tolist()
        == [[255] * 2] * 2
    )


def test_bits_and_palettes():
    bits = Image.fromarray(GREYS).convert("1")
    palette = Image.fromarray(COLOURS).quantize(16)

    assert set(decoded(bits).ravel().tolist()) == {0, 255}
    np.testing.assert_array_equal(decoded(bits), np.asarray(bits.convert("L")))
    np.testing.assert_array_equal(decoded(palette), np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(decoded(palette, "GIF"), np.asarray(palette.convert("RGB")))


def test_cmyk_is_what_pillow_makes_of_it():
    inks = Image.fromarray(COLOURS).convert("CMYK")

    np.testing.assert_array_equal(decoded(inks, "TIFF"), COLOURS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_turned_as_the_exif_says(kind):
    plain = Image.fromarray(np.repeat(np.repeat(COLOURS[:2, :3], 8, 0), 8, 1))
    tags = Image.Exif()
    tags[0x0112] = 6  # the camera was held upright: a quarter turn clockwise
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decoded(plain, kind, exif=tags, **options)
    unturned = decoded(plain, kind, **options)

    assert found.shape == (24, 16, 3)
    np.testing.assert_allclose(found, np.rot90(unturned, -1), atol=0 if kind != "JPEG" else 3)


def test_16_bit_grey_is_turned_too():
    tags = Image.Exif()
    tags[0x0112] = 3

    np.testing.assert_array_equal(decoded(Image.fromarray(DEEP), exif=tags), SCALED[::-1, ::-1])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_white_and_hidden_colours_stay_hidden(mode):
    alpha = np.full((9, 12), 255, np.uint8)
    opaque = Image.fromarray(COLOURS).convert("L" if mode == "LA" else "RGB")
    whole, holed = opaque.copy(), opaque.copy()
    whole.putalpha(Image.fromarray(alpha))
    alpha[:3], alpha[3] = 0, 128
    holed.putalpha(Image.fromarray(alpha))
    pixels, found = np.asarray(opaque), decoded(holed)

    assert (whole.mode, holed.mode) == (mode, mode)
    np.testing.assert_array_equal(decoded(whole), pixels)
    assert (found[:3] == 255).all()
    np.testing.assert_allclose(found[3], (pixels[3].astype(int) + 255) / 2, atol=1.5)
    np.testing.assert_array_equal(found[4:], pixels[4:])
    assert found.ndim == (2 if mode == "LA" else 3)


def test_transparent_colours_of_palettes_grey_and_rgb():
    palette = Image.fromarray(COLOURS).quantize(16)
    chosen = np.asarray(palette)[0, 0]
    for image, key, place in (
        (palette, int(chosen), np.asarray(palette) == chosen),
        (Image.fromarray(GREYS), int(GREYS[0, 0]), np.isin(GREYS, GREYS[0, 0])),
        (Image.fromarray(COLOURS), tuple(COLOURS[0, 0].tolist()),
         np.equal(COLOURS, COLOURS[0, 0]).all(-1)),
    ):  # fmt: skip
        found = decoded(image, transparency=key)
        wanted = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
        assert (found[place] == 255).all()
        np.testing.assert_array_equal(found[~place], wanted[~place])


def one_colour(alpha: np.ndarray) -> bytes:
    white = np.full((*alpha.shape, 4), 255, np.uint8)
    white[..., 3] = alpha
    return stored(Image.fromarray(white))


FRAMES = [Image.fromarray(COLOURS), Image.fromarray(COLOURS[::-1])]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (stored(Image.fromarray(DEEP.astype(np.float32)), "TIFF"), "mode F have no certain white"),
        (stored(Image.fromarray(DEEP.astype(np.int32)), "TIFF"), "mode I have no certain white"),
        (stored(Image.fromarray(COLOURS).convert("LAB"), "TIFF"), "mode LAB have no certain"),
        (stored(Image.fromarray(DEEP), "TIFF", tiffinfo={262: 0}), "black is not 0"),
        (stored(Image.fromarray(DEEP), transparency=5), "16-bit grey with transparent pixels"),
        (one_colour(GREYS), "nothing of it is seen on white"),
        (one_colour(np.zeros((4, 4), np.uint8)), "nothing of it is seen on white"),
        *(
            (stored(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]), "it has 2 frames")
            for kind in ("GIF", "PNG", "WEBP", "TIFF")
        ),
        *(
            (stored(Image.fromarray(COLOURS.repeat(9, 0).repeat(9, 1)), kind)[:-900], "")
            for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")
        ),
        (b"", "not one of PNG, JPEG"),
        (stored(Image.fromarray(COLOURS), "PPM"), "not one of PNG, JPEG"),
    ],
)  # fmt: skip
def test_what_has_no_certain_pixels_is_refused(content, expected):
    with pytest.raises(DataError, match=rf"b\.png: 3 cannot be decoded \(.*{expected}") as caught:
        pictures.decode(content, "b.png: 3")
    assert "\n" not in str(caught.value)


def test_previews_in_a_photograph_are_no_frames():
    content = stored(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:], quality=95)
    found = pictures.decode(content, "")

    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_channels_and_size():
    content = stored(Image.fromarray(COLOURS))

    assert pictures.decode(content, "", channels=1, size=8).shape == (8, 8, 1)
    assert pictures.decode(stored(Image.fromarray(GREYS)), "", channels=3).shape == (9, 12, 3)


def test_resize_interpolates_between_pixels():
    image = np.zeros((1, 8, 8, 2), np.uint8)
    image[0, :, 4:, 1] = 200
    resized = pictures.resize(image, 16)

    assert resized.shape == (1, 16, 16, 2)
    assert (resized[..., 0] == 0).all()
    assert resized[0, 5, :, 1].tolist() == [0] * 7 + [50, 150] + [200] * 7
    assert pictures.resize(resized, 16) is resized
    assert pictures.resize(np.zeros((2, 8, 9, 1), np.uint8), 8).shape == (2, 8, 8, 1)
