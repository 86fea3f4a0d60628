"""Is a drawn image a picture at all?

Belongs here: failures that pixels show by themselves. Does not belong here: whether it matches its caption (scoring)
or drawing again (wanted.py).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthvlm_core.images.encoding import to_bytes

Health = Literal["ok", "nan", "flat", "refused"]


def health(pixels: NDArray[Any] | None, min_std: float) -> Health:
    """Judge a picture.

    `nan`: some value is no number, as half-precision autoencoders produce. `flat`: nearly one colour, whatever the
    colour: black of an overflow, grey of a failed denoising, but also plain red. Spread is therefore taken around the
    mean colour, on the rounded values that are stored, so that the stored picture tells the same. `refused`: there are
    no pixels, because a service would not draw the caption.

    Args:
        pixels: height x width x 3; floats in [0, 1] or uint8. None where drawing was refused.
        min_std: least root mean square distance of a channel's values from their mean, on the scale 0 to 255; a picture
            that has just this spread is healthy.
    """
    if pixels is None:
        return "refused"
    if np.issubdtype(pixels.dtype, np.floating):
        if not np.isfinite(pixels).all():
            return "nan"
        pixels = to_bytes(pixels)
    variance = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64).var(axis=0).mean()
    return "flat" if np.sqrt(variance) < min_std else "ok"
