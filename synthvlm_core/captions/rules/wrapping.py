"""The form of a text that statistics are taken on.

Belongs here: Data-Juicer's wrapper. Does not belong here: the statistics (statistics.py, models/kenlm.py).
"""

from typing import Final

# Data-Juicer's LLaVA converter puts the image token before a caption and its end-of-chunk token after it. The
# paper's thresholds were found on that form, so it counts: 22 characters, of which 10 are alphanumeric.
WRAPPED_PREFIX: Final = "<image>\n"
WRAPPED_SUFFIX: Final = " <|__dj__eoc|>"


def wrapped(text: str, form: str) -> str:
    """A text in the form `wrapped` or `bare`."""
    return f"{WRAPPED_PREFIX}{text}{WRAPPED_SUFFIX}" if form == "wrapped" else text
