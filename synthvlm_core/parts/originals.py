"""What a way to the original images of a source must offer: pictures by address or by the publisher's id.

Belongs here: the base of these parts and what becomes of one image. Does not belong here: the ways
(captions/originals/), which images are asked for (captions/original_images.py).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from synthvlm_core.parts.part import Context, Part

OK = "ok"
NO_ADDRESS = "no address"


@dataclass(frozen=True)
class Wanted:
    """Where an original image is, of which at least one is said."""

    url: str | None
    uid: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of an image: its bytes, which the decoder takes, or why there are none."""

    word: str
    """`OK` exactly if there are bytes; else one of few reasons, without names and numbers of the image, so that they
    can be counted."""
    data: bytes | None = None


Find = Callable[[Sequence[Wanted], Callable[[int], None]], list[Outcome | None]]
"""(images, told how many are done) to what became of each, in their order; None where one must be asked for again, as
all together would take too much memory."""


class Originals(Part):
    """Where the original images of a source's captions are had."""

    tag: ClassVar[str] = "by"

    @property
    @abstractmethod
    def version(self) -> int:
        """Raised when the same images give other outcomes."""

    @abstractmethod
    def asked(self, source: str, context: Context) -> str:
        """What is asked, as it is now: an image that was not there is asked for again where this is another. Empty if
        an answer stands for good.

        Raises:
            Mendable: if it is not there.
        """

    @abstractmethod
    def load(self, source: str, context: Context) -> Find:
        """What finds images. Raises Mendable if it cannot."""
