"""Pictures: of a file, as they are meant to be seen, and as arrays, in the order jfl has them.

A picture becomes 8 bits a channel, grey or RGB: turned as its EXIF says, laid on white where it is
transparent, 16-bit grey scaled. What has no certain meaning in 8 bits is refused.
"""

import io
import threading
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jfl.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_MOST_PIXELS, _MOST_TRANSPARENT = 48 << 20, 32 << 20  # the latter are laid on others
_LARGE = 4 << 20  # pixels; of such pictures one is decoded at a time, whatever threads there are
_alone = threading.Lock()
_GREY, _COLOUR = ("1", "L", "LA", "La"), ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr")
_FEW = (1, 3, 4)  # channels, and no height of a picture
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def decode(
    content: bytes,
    where: str,
    *,
    formats: tuple[str, ...] = FORMATS,
    channels: int | None = None,
    size: int | None = None,
) -> UInt8[np.ndarray, "H W C"]:
    """Returns the pixels of a picture.

    Args:
        content: the file's bytes.
        where: names it in an error.
        formats: the kinds of files that are read.
        channels: 1 makes it grey, 3 RGB; none = what it is.
        size: height and width it gets; none = those it has.

    Raises:
        DataError: it is damaged, has many frames, or a kind of pixels without a certain meaning.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            pixels = image.width * image.height
            if pixels > (_MOST_TRANSPARENT if image.has_transparency_data else _MOST_PIXELS):
                raise ValueError(f"{image.width}x{image.height} pixels are too many")
            with _alone if pixels > _LARGE else nullcontext():
                plain = _plain(image, channels, size)
    except UnidentifiedImageError as error:  # whose words are about memory addresses
        raise DataError(
            f"{where} cannot be decoded (it is damaged, or not one of {', '.join(formats)})"
        ) from error
    except Exception as error:  # damaged pictures make Pillow raise a dozen kinds
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{where} cannot be decoded ({reason})") from error
    pixels = np.asarray(plain)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _plain(image: Image.Image, channels: int | None, size: int | None) -> Image.Image:
    if image.format != "MPO" and _has_more(image):  # whose others are previews
        raise ValueError("it has 2 frames or pages, or more; store each as a picture")
    image.load()
    plain = _on_white(_of_8_bits(image))
    if channels is not None:
        plain = plain.convert("L" if channels == 1 else "RGB")
    if size is not None:
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    return plain


def _has_more(image: Image.Image) -> bool:
    """Tells whether a picture has a second frame; to count all may take for ever."""
    if not hasattr(image, "n_frames"):
        return False
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return False
    return True


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Returns a picture upright, with 8 bits for each channel it has."""
    tags = getattr(image, "tag_v2", {})
    upright = ImageOps.exif_transpose(image)
    if not image.mode.startswith("I;16"):
        if image.mode not in (*_GREY, *_COLOUR):
            raise ValueError(
                f"pixels of mode {image.mode} have no certain white; store 8 or 16 bits a channel"
            )
        return upright
    if tags.get(_BITS, (16,)) != (16,) or tags.get(_PHOTOMETRIC) == 0:
        raise ValueError("its grey has not 16 bits, or black is not 0; store 8 or 16 bits")
    if "transparency" in image.info:
        raise ValueError("it is 16-bit grey with transparent pixels; put it on a background")
    scaled = np.rint(np.arange(1 << 16) * (255 / 65535)).astype(np.uint8)
    return Image.fromarray(scaled[np.asarray(upright)])


def _on_white(image: Image.Image) -> Image.Image:
    """Returns a picture as grey or RGB; white shows where it is transparent."""
    grey = image.mode in _GREY
    if not image.has_transparency_data:
        return image.convert("L" if grey else "RGB")
    image = image.convert("LA") if image.mode == "La" else image
    pixels = image.convert("RGBA")
    if pixels.getchannel("A").getextrema() != (255, 255):
        image.close()  # it may be large, and is not needed any more
        white = Image.new("RGBA", pixels.size, "white")
        white.alpha_composite(pixels)
        pixels = white
        if len(pixels.getcolors(2) or (0, 0)) == 1:
            raise ValueError("nothing of it is seen on white; put it on another background")
    return pixels.getchannel("R") if grey else pixels.convert("RGB")


def resize(images: UInt8[np.ndarray, "n H W C"], size: int) -> UInt8[np.ndarray, "n S S C"]:
    """Returns the images at `size` x `size` pixels, bilinear."""
    if images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for index, image in enumerate(images):
        for channel in range(images.shape[3]):
            plane = Image.fromarray(image[:, :, channel])
            plane = plane.resize((size, size), Image.Resampling.BILINEAR)
            resized[index, :, :, channel] = np.asarray(plane)
    return resized


def require_order(x: np.ndarray, where: str) -> None:
    """Refuses images whose shape is not, or may not be, [n, height, width, channels].

    uint8 images have 1 channel (grey) or 3 (RGB). Floats may have any number, and only what is
    plainly a picture behind its channels is refused.

    Raises:
        DataError: with the shape, and how to change it.
    """
    shape, pixels = list(x.shape), x.dtype == np.uint8
    if x.ndim != 4:
        if pixels:
            raise DataError(
                f"{where}: x is uint8 of shape {shape}; images must be [n, height, width] or "
                "[n, height, width, channels]"
            )
        return
    _, first, middle, last = shape
    if pixels and first in (1, 3) and last in (1, 3):
        raise DataError(
            f"{where}: x has the shape {shape}, which may be [n, channels, height, width] or "
            "[n, height, width, channels]; give images of more pixels, with the channels last"
        )
    behind = last not in (1, 3) and (first in _FEW or middle == last != first)
    if behind if pixels else first in _FEW and _is_picture(middle, last):
        raise DataError(
            f"{where}: x has the shape {shape}, as [n, channels, height, width]; transpose it to "
            "[n, height, width, channels], as in x.transpose(0, 2, 3, 1)"
        )
    if pixels and last not in (1, 3):
        raise DataError(
            f"{where}: x has the shape {shape}; uint8 images have 1 channel (grey) or 3 (RGB): "
            "leave out alpha, as in x[..., :3], and give other channels as float32"
        )


def channels_last(shape: Sequence[int]) -> bool:
    """Tells whether [n, ...] is plainly [n, height, width, channels]."""
    _, first, middle, last = shape
    return last in _FEW and first not in _FEW and _is_picture(first, middle)


def _is_picture(height: int, width: int) -> bool:
    return min(height, width) >= 8 and max(height, width) <= 4 * min(height, width)
