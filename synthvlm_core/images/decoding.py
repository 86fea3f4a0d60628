"""Foreign bytes to pictures, safely: the one decoder for whatever comes from outside or back from the store.

Belongs here: the formats, the bounds, how every kind of picture becomes RGB. Does not belong here: naming the row or
file that a picture stands in (the callers), resizing for a model, encoding (encoding.py).

What a picture becomes, always RGB of 8 bits as a person would see it:

    EXIF orientation            applied; unreadable EXIF is no orientation
    transparency                composited on white, whether an alpha channel, a palette's or one transparent colour
    16-bit grey                 scaled to 8 bits, rounded; 16-bit colour comes from the decoder with its upper 8 bits
    grey, black and white       the same value in all channels
    palette                     its colours
    CMYK                        subtractive, Adobe's inversion undone; no colour profile is applied to any picture
    several pictures in a JPEG  the first (cameras append a preview)
    animation                   refused
"""

import io
import struct

import numpy as np
import PIL
import PIL.Image

from synthvlm_core.errors import Mendable

MAX_PIXELS = 64 * 2**20
"""Most pixels decoded, 8192 x 8192: 192 MiB in memory."""
FORMATS = ("JPEG", "PNG", "WEBP")

_ORIENTATION = 0x0112
_Transpose = PIL.Image.Transpose
_UPRIGHT = {
    2: _Transpose.FLIP_LEFT_RIGHT,
    3: _Transpose.ROTATE_180,
    4: _Transpose.FLIP_TOP_BOTTOM,
    5: _Transpose.TRANSPOSE,
    6: _Transpose.ROTATE_270,
    7: _Transpose.TRANSVERSE,
    8: _Transpose.ROTATE_90,
}


class UndecodableImage(Mendable):
    """Bytes that are no picture that is taken; the message says why, and the caller where they stand."""


def decode(data: bytes, *, formats: tuple[str, ...] = FORMATS, max_pixels: int = MAX_PIXELS) -> PIL.Image.Image:
    """Decode hostile bytes: known formats only, one frame, bounded before any pixel is unpacked.

    Args:
        formats: Pillow's names of the formats that are taken.
        max_pixels: most pixels of a picture, width times height.

    Returns:
        The picture in mode RGB, upright; the module says what becomes of other kinds.

    Raises:
        UndecodableImage: if it is another format, truncated, corrupt, animated or too large.
    """
    try:
        with PIL.Image.open(io.BytesIO(data), formats=formats) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise UndecodableImage(f"{width} x {height} pixels are more than {max_pixels}")
            if picture.format not in ("JPEG", "MPO") and getattr(picture, "n_frames", 1) != 1:
                raise UndecodableImage("an animation, not a picture")
            picture.verify()  # checksums; it leaves the picture unusable, hence opened again
        with PIL.Image.open(io.BytesIO(data), formats=formats) as picture:
            picture.load()
            turn = _UPRIGHT.get(_orientation(picture))
            found = _rgb(picture)
            return found if turn is None else found.transpose(turn)
    except UndecodableImage:
        raise
    except PIL.UnidentifiedImageError as error:
        *most, last = formats
        wanted = f"neither {', '.join(most)} nor {last}" if most else f"no {last}"
        raise UndecodableImage(f"{len(data)} bytes are {wanted}") from error
    except PIL.Image.DecompressionBombError as error:
        raise UndecodableImage(str(error)) from error
    except Exception as error:  # decoders answer corrupt bytes with whatever they tripped over
        raise UndecodableImage(f"{len(data)} bytes are no readable picture: {error}") from error


def _orientation(picture: PIL.Image.Image) -> int:
    """EXIF's orientation, 1 (upright) where there is none that can be read."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return 1
    return found if isinstance(found, int) else 1


def _rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    """A loaded picture as RGB on white."""
    transparent = picture.info.get("transparency")
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        grey = PIL.Image.fromarray(((values + 128) // 257).astype(np.uint8))
        if not isinstance(transparent, int):
            return grey.convert("RGB")
        picture = grey.convert("RGBA")
        picture.putalpha(PIL.Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    if transparent is None and not picture.has_transparency_data:
        return picture.convert("RGB")
    over = picture.convert("RGBA")
    white = PIL.Image.new("RGBA", over.size, (255, 255, 255, 255))
    return PIL.Image.alpha_composite(white, over).convert("RGB")
