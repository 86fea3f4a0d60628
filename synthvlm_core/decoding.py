"""Foreign bytes to pictures, safely: the one decoder for whatever comes from outside or back from the store.

Belongs here: the formats, the bounds, how every kind of picture becomes RGB. Does not belong here: naming the row or
file that a picture stands in (the callers), resizing for a model, encoding (encoding.py).

What a picture becomes, always RGB of 8 bits as a person would see it:

    EXIF orientation            applied; unreadable EXIF is no orientation
    colour profile (ICC)        colours are converted to sRGB, as browsers do; one that is unreadable, too large or of
                                another kind than the picture is left out of account
    PNG's gamma, primaries      left out of account: sRGB is assumed, as most programs do
    transparency                composited on white, whether an alpha channel, a palette's or one transparent colour
    16-bit grey                 scaled to 8 bits, rounded; 16-bit colour comes from the decoder with its upper 8 bits
    grey, black and white       the same value in all channels
    palette                     its colours
    CMYK                        through its profile, else subtractive; in JPEG inverted as Adobe writes it, with its
                                marker or without, as browsers read it
    several pictures in a JPEG  the first (cameras append a preview)
    animation                   refused
    truncated, corrupt          refused
    endless in one direction    refused: it would grow without bound when it is padded to a square or cut to one
"""

import functools
import io
import struct

import numpy as np
import PIL
import PIL.Image
import PIL.ImageCms

from synthvlm_core.errors import Mendable

MAX_PIXELS = 64 * 2**20
"""Most pixels decoded, 8192 x 8192: 192 MiB in memory."""
MAX_SIDE = 2**15
"""Longest side: padded to a square, a picture is a copy of 3 GiB at most."""
MAX_RATIO = 100
"""Most of the longer side to the shorter: models resize by the shorter one."""
MAX_SCANS = 100
"""Of a progressive JPEG; encoders write about ten, and each costs the time of a whole picture."""
MAX_PROFILE_BYTES = 4 * 2**20
FORMATS = ("JPEG", "PNG", "WEBP")

_CODED = {"L;2": 85, "L;4": 17}
"""Pillow scales such grey values to 8 bits, and leaves the transparent one as it was coded."""
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's modes of what a colour profile may be for."""
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
            _refuse_unbounded(picture, data, max_pixels)
            picture.verify()  # checksums; it leaves the picture unusable, hence opened again
        with PIL.Image.open(io.BytesIO(data), formats=formats) as picture:
            transparent = _transparent(picture)
            picture.load()
            turn = _UPRIGHT.get(_orientation(picture))
            found = _rgb(picture, transparent)
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


def _refuse_unbounded(picture: PIL.Image.Image, data: bytes, max_pixels: int) -> None:
    """What would take much memory or time to unpack or to work on, by what the file's head says."""
    width, height = picture.size
    if min(width, height) < 1:
        raise UndecodableImage(f"{width} x {height} pixels are none")
    if width * height > max_pixels:
        raise UndecodableImage(f"{width} x {height} pixels are more than {max_pixels}")
    if max(width, height) > MAX_SIDE:
        raise UndecodableImage(f"{width} x {height} pixels: a side has more than {MAX_SIDE}")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UndecodableImage(f"{width} x {height} pixels: one side is more than {MAX_RATIO} times the other")
    if picture.format in ("JPEG", "MPO"):
        if data.count(b"\xff\xda") > MAX_SCANS:
            raise UndecodableImage(f"a progressive JPEG of more than {MAX_SCANS} scans")
    elif getattr(picture, "is_animated", False):  # unlike `n_frames` it does not read them all
        raise UndecodableImage("an animation, not a picture")


def _transparent(picture: PIL.Image.Image) -> int | tuple[int, ...] | bytes | None:
    """The transparent colour, or a palette's alpha, in the values that Pillow gives pixels; None if there is none."""
    found: int | tuple[int, ...] | bytes | None = picture.info.get("transparency")
    tiles = getattr(picture, "tile", ())  # of a file that is not unpacked yet: how its parts are coded
    coding = tiles[0].args if tiles else None
    if isinstance(found, int) and isinstance(coding, str):
        return found * _CODED.get(coding, 1)
    if isinstance(found, tuple) and coding == "RGB;16B":
        return tuple(value >> 8 for value in found)
    return found


def _rgb(picture: PIL.Image.Image, transparent: int | tuple[int, ...] | bytes | None) -> PIL.Image.Image:
    """A loaded picture as RGB on white."""
    if transparent is not None:
        picture.info["transparency"] = transparent
    profile = picture.info.get("icc_profile")
    alpha: PIL.Image.Image | None = None
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        picture = PIL.Image.fromarray(((values + 128) // 257).astype(np.uint8))
        if isinstance(transparent, int):
            alpha = PIL.Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    elif picture.has_transparency_data:
        grey = picture.mode in ("1", "L", "LA", "La")
        picture = picture.convert("LA" if grey else "RGBA")
        alpha = picture.getchannel("A")
        picture = picture.getchannel("L") if grey else picture
    colours = _screen_colours(picture, profile)
    if alpha is None:
        return colours
    white = PIL.Image.new("RGBA", colours.size, (255, 255, 255, 255))
    colours.putalpha(alpha)
    return PIL.Image.alpha_composite(white, colours).convert("RGB")


def _screen_colours(picture: PIL.Image.Image, profile: object) -> PIL.Image.Image:
    """The colours of a picture as sRGB, by its profile where that can be followed; transparency is dropped."""
    kind = {"CMYK": "CMYK", "1": "L", "L": "L"}.get(picture.mode, "RGB")
    if isinstance(profile, bytes) and len(profile) <= MAX_PROFILE_BYTES:
        try:
            meant = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
            # sRGB to sRGB would round some values to their neighbours
            if _SPACES.get(meant.profile.xcolor_space.strip()) == kind and not _is_srgb(meant):
                made = PIL.ImageCms.profileToProfile(picture.convert(kind), meant, _srgb(), outputMode="RGB")
                if made is not None:
                    return made
        except (PIL.ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # an unreadable profile: shown as if it had none, as everywhere
    return picture.convert("RGB")


def _is_srgb(profile: PIL.ImageCms.ImageCmsProfile) -> bool:
    return "sRGB" in PIL.ImageCms.getProfileDescription(profile)


@functools.cache
def _srgb() -> PIL.ImageCms.ImageCmsProfile:
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB"))
